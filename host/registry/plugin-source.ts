import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { Type } from 'typebox'
import { ExpertSettings } from '../config/config-schema.ts'

/** A package that may be served: what its `package.json` says, checked. */
export interface PluginSource {
  /** Absolute path of the package's folder, links resolved. */
  folder: string
  packageName: string
  version: string
  /** Path of the entry module inside the folder. */
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

/** The keyword by which a package says that it is a plugin. */
export const PLUGIN_KEYWORD = 'nebula-expert'

/** What an expert may be called. */
export const LEGAL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const {
  package: _package,
  env: _env,
  runtime: _runtime,
  ...manifestSettings
} = ExpertSettings.properties
const Manifest = Type.Object(
  { expert: Type.Optional(Type.String()), ...manifestSettings },
  { additionalProperties: false }
)
const checkManifest = new Ajv({ allErrors: true, strict: false }).compile(Manifest)

/** @throws PluginError when the folder holds no package, or one that cannot be served */
export async function readPluginSource(folder: string): Promise<PluginSource> {
  const manifest = await readManifest(folder)
  const { expert, ...settings } = readSettings(manifest.nebula)
  const packageName = typeof manifest.name === 'string' ? manifest.name : ''
  const name = expert ?? nameOfPackage(packageName)
  checkName(name)
  const entry = resolveEntry(manifest)
  if (entry === null) {
    throw new PluginError('package.json has no entry: set "exports" to the module\'s path')
  }
  return {
    folder,
    packageName,
    version: typeof manifest.version === 'string' ? manifest.version : '0.0.0',
    entry,
    settings: settings as ExpertSettings,
    name
  }
}

export async function readManifest(folder: string): Promise<Record<string, unknown>> {
  const path = join(folder, 'package.json')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    throw new PluginError(code === 'ENOENT' ? 'it has no package.json' : `package.json: ${code}`)
  }
  try {
    const manifest = JSON.parse(text)
    if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) {
      throw new SyntaxError('wanted an object')
    }
    return manifest
  } catch (error) {
    throw new PluginError(`package.json is not usable JSON: ${(error as Error).message}`)
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

function readSettings(nebula: unknown): { expert?: string } & ExpertSettings {
  if (nebula === undefined) return {}
  if (checkManifest(nebula)) return nebula as { expert?: string } & ExpertSettings
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
