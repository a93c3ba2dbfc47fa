import { readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Ajv } from 'ajv'
import { type Static, Type } from 'typebox'
import { ExpertSettings } from '../config/config-schema.ts'

/** What may be served: a package, as its `package.json` says, or a model that a package serves. */
export interface PluginSource {
  /** Absolute path of the package's or the model's folder, links resolved. */
  folder: string
  /** The package that serves the model in this folder; null for a package. */
  template: PluginSource | null
  /** A package that serves what others bring: never as itself, unless it is named. */
  isTemplate: boolean
  packageName: string
  version: string
  /** Path of the entry module inside the package's folder. */
  entry: string
  /** Settings of the manifest's `nebula` field, without the name. */
  settings: ExpertSettings
  /** The name it is served under unless the configuration says otherwise. */
  name: string
}

/** What is wrong with a package, in words its author can act on. */
export class PluginError extends Error {
  override readonly name = 'PluginError'
}

/** Of a `package.json` or `expert.json`: the host reads them in its own thread. */
const MAX_MANIFEST_BYTES = 1024 * 1024

/** The keyword by which a package says that it is a plugin. */
export const PLUGIN_KEYWORD = 'nebula-expert'

/** What is to be known of a model that lies in a folder of its own. */
const EXPERT_FILE = 'expert.json'

/** What an expert may be called. */
export const LEGAL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const {
  package: _package,
  env: _env,
  runtime: _runtime,
  ...manifestSettings
} = ExpertSettings.properties
const Manifest = Type.Object(
  {
    expert: Type.Optional(Type.String()),
    template: Type.Optional(Type.Boolean()),
    ...manifestSettings
  },
  { additionalProperties: false }
)
const checkManifest = new Ajv({ allErrors: true, strict: false }).compile(Manifest)

/** @throws PluginError when the folder holds no package, or one that cannot be served */
export async function readPluginSource(folder: string): Promise<PluginSource> {
  const manifest = await readManifest(folder)
  const { expert, template, ...settings } = readSettings(manifest.nebula)
  const packageName = typeof manifest.name === 'string' ? manifest.name : ''
  const name = expert ?? nameOfPackage(packageName)
  checkName(name)
  const entry = resolveEntry(manifest)
  if (entry === null) {
    throw new PluginError('package.json has no entry: set "exports" to the module\'s path')
  }
  return {
    folder,
    template: null,
    isTemplate: template === true,
    packageName,
    version: typeof manifest.version === 'string' ? manifest.version : '0.0.0',
    entry,
    settings: settings as ExpertSettings,
    name
  }
}

/** Files by which a folder without a `package.json` says that it is a model. */
const MODEL_FILES = ['model.onnx', EXPERT_FILE] as const

/** True for a folder that holds a model and what is to be known of it, and is no package. */
export async function isModelFolder(folder: string): Promise<boolean> {
  const isThere = async (name: string) =>
    (await stat(join(folder, name)).catch(() => null))?.isFile() === true
  if (await isThere('package.json')) return false
  return (await Promise.all(MODEL_FILES.map(isThere))).every(Boolean)
}

/**
 * A model's folder: its `expert.json` gives name and version, the package its code.
 *
 * @throws PluginError when `expert.json` cannot be read, or gives no name that can be served
 */
export async function readModelSource(
  folder: string,
  template: PluginSource
): Promise<PluginSource> {
  const { expert = basename(folder), version = '0.0.0' } = await readObject(folder, EXPERT_FILE)
  for (const [key, value] of Object.entries({ expert, version })) {
    if (typeof value !== 'string') {
      throw new PluginError(`${EXPERT_FILE}: ${key} is ${JSON.stringify(value)}, wanted a string`)
    }
  }
  checkName(expert as string)
  return {
    ...template,
    ...{ folder, template, isTemplate: false, packageName: '' },
    version: version as string,
    name: expert as string
  }
}

export async function readManifest(folder: string): Promise<Record<string, unknown>> {
  return readObject(folder, 'package.json')
}

async function readObject(folder: string, name: string): Promise<Record<string, unknown>> {
  let text: string
  try {
    const { size } = await stat(join(folder, name))
    if (size > MAX_MANIFEST_BYTES) {
      throw new PluginError(`${name} has ${size} bytes, wanted at most ${MAX_MANIFEST_BYTES}`)
    }
    text = await readFile(join(folder, name), 'utf8')
  } catch (error) {
    if (error instanceof PluginError) throw error
    const code = (error as NodeJS.ErrnoException).code
    throw new PluginError(code === 'ENOENT' ? `it has no ${name}` : `${name}: ${code}`)
  }
  try {
    const found = JSON.parse(text)
    if (typeof found !== 'object' || found === null || Array.isArray(found)) {
      throw new SyntaxError('wanted an object')
    }
    return found
  } catch (error) {
    throw new PluginError(`${name} is not usable JSON: ${(error as Error).message}`)
  }
}

/** True when a manifest carries the keyword. */
export function isPlugin(manifest: Record<string, unknown>): boolean {
  return Array.isArray(manifest.keywords) && manifest.keywords.includes(PLUGIN_KEYWORD)
}

/** `@scope/expert-places` is served as `places`. */
export function nameOfPackage(packageName: string): string {
  return packageName.replace(/^@[^/]*\//, '').replace(/^expert-/, '')
}

/** @throws PluginError for a name that could not stand in a URL */
export function checkName(name: string): void {
  if (!LEGAL_NAME.test(name)) {
    throw new PluginError(
      `${JSON.stringify(name)} is no legal name of an expert: letters, digits, '.', '_' and '-', first a letter or digit`
    )
  }
}

function readSettings(nebula: unknown): Static<typeof Manifest> {
  if (nebula === undefined) return {}
  if (checkManifest(nebula)) return nebula as Static<typeof Manifest>
  const problems = (checkManifest.errors ?? []).map((error) => {
    const extra = (error.params as { additionalProperty?: string }).additionalProperty
    return `nebula${error.instancePath} ${error.message}${extra === undefined ? '' : ` (${extra})`}`
  })
  throw new PluginError(`package.json: ${problems.join('; ')}`)
}

/** The module that `import` of the package would load, as its `exports` or `main` say. */
function resolveEntry(manifest: Record<string, unknown>): string | null {
  const exports = manifest.exports
  if (exports !== undefined) {
    const root =
      typeof exports === 'object' && exports !== null && '.' in exports
        ? (exports as Record<string, unknown>)['.']
        : exports
    return resolveConditions(root)
  }
  if (manifest.main === undefined) return 'index.js'
  return typeof manifest.main === 'string' ? manifest.main : null
}

function resolveConditions(target: unknown): string | null {
  if (typeof target === 'string') return target
  if (Array.isArray(target)) return resolveConditions(target[0])
  if (typeof target !== 'object' || target === null) return null
  for (const [condition, value] of Object.entries(target)) {
    if (['node', 'import', 'module-sync', 'default'].includes(condition)) {
      const found = resolveConditions(value)
      if (found !== null) return found
    }
  }
  return null
}
