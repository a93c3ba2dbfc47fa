import { readdir, realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExpertSettings } from '../config/config-schema.ts'
import type { HostConfig } from '../config/host-config.ts'
import {
  checkName,
  isModelFolder,
  isPlugin,
  PluginError,
  type PluginSource,
  readManifest,
  readModelSource,
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

/** The bundled package that serves models, and the name by which entries of the configuration mean it. */
const MODEL_SERVER = { name: 'onnx', packageName: '@nebula-experts/onnx' }
const HOST_FOLDER = dirname(fileURLToPath(import.meta.url))

/**
 * Finds every expert: sub-folders of the plugin folders, packages and models, the entries of the
 * configuration, and what `EXPERT_PLUGINS` names. Nothing of a package is run. Names are compared without
 * case. A template is served under the names that are given to it, and not because it is there.
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
    add(
      name,
      item,
      withPaths(settings, config.baseDir),
      `it waits for a plugin '${wanted}', which is not there yet`
    )
  }
  for (const item of found) {
    if (!used.has(item) && item.source?.isTemplate !== true) add(item.name, item, {}, '')
  }

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

/** Values of an entry's `env` that start as relative paths are relative to the configuration file. */
function withPaths(settings: ExpertSettings, baseDir: string): ExpertSettings {
  if (settings.env === undefined) return settings
  const env = Object.entries(settings.env).map(([key, value]): [string, string] => [
    key,
    /^\.{1,2}\//.test(value) ? resolve(baseDir, value) : value
  ])
  return { ...settings, env: Object.fromEntries(env) }
}

/** The plugin of that name, package name or folder; else an installed package of that name. */
async function find(word: string, found: Found[], config: Lookup): Promise<Found | null> {
  if (word.startsWith('.') || isAbsolute(word)) {
    const folder = await realpath(resolve(config.baseDir, word)).catch(() => null)
    if (folder === null) return null
    return found.find((item) => item.folder === folder) ?? (await inspect(folder, found, config))
  }
  const lower = word.toLowerCase()
  const known = found.find(
    (item) => item.name.toLowerCase() === lower || item.source?.packageName === word
  )
  if (known !== undefined) return known
  if (lower === MODEL_SERVER.name) return findModelServer(found, config)
  return findInstalled(word, config.baseDir, config)
}

/** A template of that name in the plugin folders, else the bundled one: beside the configuration or this host. */
async function findModelServer(found: Found[], config: Lookup): Promise<Found | null> {
  const { name, packageName } = MODEL_SERVER
  const dropped = found.find((item) => item.name === name && item.source?.isTemplate === true)
  if (dropped !== undefined) return dropped
  const beside = await findInstalled(packageName, config.baseDir, config)
  return beside ?? (await findInstalled(packageName, HOST_FOLDER, config))
}

async function findInstalled(
  packageName: string,
  from: string,
  config: Lookup
): Promise<Found | null> {
  for (let folder = from; ; folder = dirname(folder)) {
    const installed = join(folder, 'node_modules', ...packageName.split('/'))
    if ((await stat(join(installed, 'package.json')).catch(() => null))?.isFile() === true) {
      return inspect(await realpath(installed), [], config)
    }
    if (folder === dirname(folder)) return null
  }
}

async function scanFolders(config: Lookup): Promise<Found[]> {
  const found: Found[] = []
  // After the packages: the one that serves them may be among these.
  const models: string[] = []
  for (const root of config.pluginDirs) {
    const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.') || entry.name === 'node_modules') continue
      const folder = await realpath(join(root, entry.name)).catch(() => null)
      if (folder === null) continue
      if ((await stat(join(folder, 'package.json')).catch(() => null)) === null) {
        if (await isModelFolder(folder)) models.push(folder)
        continue
      }
      const item = await inspect(folder, found, config)
      if (await saysPlugin(item)) found.push(item)
    }
  }
  for (const folder of models) found.push(await inspect(folder, found, config))
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

async function inspect(folder: string, found: Found[], config: Lookup): Promise<Found> {
  const name = config.lastNames?.get(folder) ?? folder.slice(folder.lastIndexOf(sep) + 1)
  try {
    const source = (await isModelFolder(folder))
      ? await readModel(folder, found, config)
      : await readPluginSource(folder)
    return { folder, name: source.name, source, problem: null }
  } catch (error) {
    // Whatever it is, it is this folder's alone.
    return { folder, name, source: null, problem: (error as Error).message }
  }
}

async function readModel(folder: string, found: Found[], config: Lookup): Promise<PluginSource> {
  const server = await findModelServer(found, config)
  const template = server?.source ?? null
  if (template !== null) return readModelSource(folder, template)
  const { packageName } = MODEL_SERVER
  const why = server?.problem ?? `it is not installed: npm install ${packageName}`
  throw new PluginError(`it is a model, which ${packageName} serves, but ${why}`)
}
