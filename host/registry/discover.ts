import { readdir, realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve, sep } from 'node:path'
import type { ExpertSettings } from '../config/config-schema.ts'
import type { HostConfig } from '../config/host-config.ts'
import {
  checkName,
  isPlugin,
  PluginError,
  type PluginSource,
  readManifest,
  readPluginSource
} from './plugin-source.ts'

/** One expert that the host knows of, whether or not it can be served. */
export interface Candidate {
  name: string
  source: PluginSource | null
  settings: ExpertSettings
  required: boolean
  /** `serve`; `waiting` for a package that is not there; `unselected`; `broken`: see `reason`. */
  verdict: 'serve' | 'waiting' | 'unselected' | 'broken'
  reason: string | null
}

interface Found {
  folder: string
  /** By which it is known when its manifest cannot be read: the folder's. */
  name: string
  source: PluginSource | null
  problem: string | null
}

interface Lookup extends Pick<HostConfig, 'pluginDirs' | 'experts' | 'selected' | 'baseDir'> {
  /** Under which name a folder was known before its manifest broke. */
  lastNames?: ReadonlyMap<string, string>
}

/**
 * Finds every expert: sub-folders of the plugin folders, the entries of the configuration, and what
 * `EXPERT_PLUGINS` names. Nothing of a package is run. Names are compared without case.
 *
 * @param owners - folders by lower-case name: who had a name before keeps it
 */
export async function discover(
  config: Lookup,
  owners: ReadonlyMap<string, string> = new Map()
): Promise<Candidate[]> {
  const owns = ({ name, folder }: Found) => Number(owners.get(name.toLowerCase()) === folder)
  const found = (await scanFolders(config)).sort((a, b) => owns(b) - owns(a))
  // What EXPERT_PLUGINS names by folder or package takes its settings by name like any other.
  for (const word of config.selected ?? []) {
    const item = await find(word, found, config)
    if (item !== null && !found.includes(item)) found.push(item)
  }
  const candidates: Candidate[] = []
  const taken = new Map<string, Candidate>()
  const used = new Set<Found>()

  const add = (
    name: string,
    item: Found | null,
    own: ExpertSettings,
    waitsFor: string
  ): Candidate => {
    const candidate = judge(name, item, own, waitsFor)
    const holder = taken.get(name.toLowerCase())
    if (holder !== undefined) {
      candidate.verdict = 'broken'
      candidate.reason = `its name is taken by ${holder.source?.folder ?? 'another entry'}`
    } else {
      taken.set(name.toLowerCase(), candidate)
    }
    if (item !== null) used.add(item)
    candidates.push(candidate)
    return candidate
  }

  for (const [name, settings] of Object.entries(config.experts)) {
    const wanted = settings.package ?? name
    const item = await find(wanted, found, config)
    add(name, item, settings, `it waits for a plugin '${wanted}', which is not there yet`)
  }
  for (const item of found) if (!used.has(item)) add(item.name, item, {}, '')

  if (config.selected === null) return candidates
  const chosen = new Set<Candidate>()
  for (const word of config.selected) {
    const item = await find(word, found, config)
    const candidate =
      taken.get(word.toLowerCase()) ??
      candidates.find((other) => item !== null && other.source?.folder === item.folder) ??
      add(item?.name ?? word, item, {}, `EXPERT_PLUGINS names '${word}', which is not there yet`)
    candidate.required = true
    chosen.add(candidate)
  }
  for (const candidate of candidates) {
    if (chosen.has(candidate) || candidate.verdict === 'broken') continue
    candidate.verdict = 'unselected'
    candidate.reason = 'it is not named in EXPERT_PLUGINS'
    candidate.required = false
  }
  return candidates
}

function judge(name: string, item: Found | null, own: ExpertSettings, waitsFor: string): Candidate {
  const settings = { ...item?.source?.settings, ...own }
  const candidate: Candidate = {
    name,
    source: item?.source ?? null,
    settings,
    required: settings.required === true,
    verdict: 'serve',
    reason: null
  }
  try {
    if (item === null) {
      candidate.verdict = 'waiting'
      candidate.reason = waitsFor
    } else {
      if (item.problem !== null) throw new PluginError(item.problem)
      checkName(name)
    }
  } catch (error) {
    candidate.verdict = 'broken'
    candidate.reason = (error as Error).message
  }
  return candidate
}

/** The plugin of that name, package name or folder; else an installed package of that name. */
async function find(word: string, found: Found[], config: Lookup): Promise<Found | null> {
  if (word.startsWith('.') || isAbsolute(word)) {
    const folder = await realpath(resolve(config.baseDir, word)).catch(() => null)
    if (folder === null) return null
    return found.find((item) => item.folder === folder) ?? (await inspect(folder, config))
  }
  const lower = word.toLowerCase()
  const known = found.find(
    (item) => item.name.toLowerCase() === lower || item.source?.packageName === word
  )
  return known ?? (await findInstalled(word, config))
}

async function findInstalled(packageName: string, config: Lookup): Promise<Found | null> {
  for (let folder = config.baseDir; ; folder = dirname(folder)) {
    const installed = join(folder, 'node_modules', ...packageName.split('/'))
    if ((await stat(join(installed, 'package.json')).catch(() => null))?.isFile() === true) {
      return inspect(await realpath(installed), config)
    }
    if (folder === dirname(folder)) return null
  }
}

async function scanFolders(config: Lookup): Promise<Found[]> {
  const found: Found[] = []
  for (const root of config.pluginDirs) {
    const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.') || entry.name === 'node_modules') continue
      const folder = await realpath(join(root, entry.name)).catch(() => null)
      if (
        folder === null ||
        (await stat(join(folder, 'package.json')).catch(() => null)) === null
      ) {
        continue
      }
      const item = await inspect(folder, config)
      if (await saysPlugin(item)) found.push(item)
    }
  }
  return found
}

/** A folder whose manifest cannot be read is shown; one that is some other package is passed over. */
async function saysPlugin(item: Found): Promise<boolean> {
  try {
    return isPlugin(await readManifest(item.folder))
  } catch {
    return true
  }
}

async function inspect(folder: string, { lastNames }: Lookup): Promise<Found> {
  const name = lastNames?.get(folder) ?? folder.slice(folder.lastIndexOf(sep) + 1)
  try {
    const source = await readPluginSource(folder)
    return { folder, name: source.name, source, problem: null }
  } catch (error) {
    // Whatever it is, it is this folder's alone.
    return { folder, name, source: null, problem: (error as Error).message }
  }
}
