import { compileSchema, type Issue } from '@nebula-experts/sdk/schemas'
import { PluginError } from './plugin-source.ts'

// What would hand an expert the keys of the house.
const SECRETS = /^(NEBULA_.*|REDIS_URL|ARANGO_URL|DEFAULT_ARANGO_(USER|PASSWORD)(_FILE)?)$/
const LOOKS_SECRET = /(KEY|SECRET|TOKEN|PASSWORD|PASSWD|USERPASS|CREDENTIALS)$/i

type Property = { type?: unknown; writeOnly?: boolean; format?: string; anyOf?: unknown[] }

/** The configuration that an expert declares: which variables it reads, and their checked values. */
export class DeclaredConfig {
  readonly #properties: Record<string, Property>
  readonly #checkAll: ReturnType<typeof compileSchema>
  readonly #checks = new Map<string, ReturnType<typeof compileSchema>>()

  /** @throws PluginError when a key may not be declared; SchemaError when the schema is not usable */
  constructor(schema: object | null) {
    const declared = (schema ?? { type: 'object' }) as { properties?: Record<string, Property> }
    this.#properties = declared.properties ?? {}
    this.#checkAll = compileSchema(declared)
    for (const [key, property] of Object.entries(this.#properties)) {
      if (SECRETS.test(key)) {
        throw new PluginError(`static config declares ${key}, which is the host's own`)
      }
      this.#checks.set(key, compileSchema(property))
    }
  }

  has(key: string): boolean {
    return this.#checks.has(key)
  }

  /**
   * Values from the configuration file's `env`, then from the environment.
   * @throws PluginError naming every key that is missing or does not fit
   */
  read(fileEnv: Record<string, string>, env: NodeJS.ProcessEnv): Record<string, unknown> {
    const found: Record<string, unknown> = {}
    for (const key of Object.keys(this.#properties)) {
      const text = fileEnv[key] ?? env[key]
      if (text !== undefined && text !== '') found[key] = this.#split(key, text)
    }
    const checked = this.#checkAll(found, [])
    if (checked.issues === undefined) return checked.value as Record<string, unknown>
    throw new PluginError(
      `its configuration does not fit: ${checked.issues.map(describe).join('; ')}`
    )
  }

  /** Checks one value that `POST /set` gives. */
  check(key: string, value: unknown): { value: unknown } | { issues: Issue[] } {
    const check = this.#checks.get(key) as ReturnType<typeof compileSchema>
    const checked = check(typeof value === 'string' ? this.#split(key, value) : value, [
      'body',
      key
    ])
    return checked.issues === undefined ? { value: checked.value } : { issues: checked.issues }
  }

  /** What `/cfg` shows: secrets are covered. */
  show(values: Record<string, unknown>): Record<string, unknown> {
    const shown: Record<string, unknown> = {}
    for (const [key, value] of Object.entries(values)) {
      const property = this.#properties[key]
      const secret =
        property?.writeOnly === true || property?.format === 'password' || LOOKS_SECRET.test(key)
      shown[key] = secret && value !== null ? '***' : value
    }
    return shown
  }

  /** Lists in variables are comma separated. */
  #split(key: string, text: string): unknown {
    return this.#properties[key]?.type === 'array'
      ? text.split(',').map((item) => item.trim())
      : text
  }
}

function describe(issue: Issue): string {
  const key = issue.loc.join('.')
  return issue.type === 'value_error.missing'
    ? `${key} is required: set the variable, or "env" of the expert in the configuration file`
    : `${key}: ${issue.msg}`
}
