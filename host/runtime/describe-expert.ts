import { type BaseExpert, baseExpertMark, type DeclaredRoute } from '@nebula-experts/sdk/hosting'
import type { ExpertDescription } from './messages.ts'

/** What the process tells the host of the expert: everything but code. */
export function describeExpert(expert: BaseExpert, routes: DeclaredRoute[]): ExpertDescription {
  const statics = expert.constructor as { config?: object; params?: object }
  return {
    name: expert.getName(),
    configSchema: statics.config ?? null,
    paramsSchema: statics.params ?? null,
    predictsLists: typeof expert.predictImages === 'function',
    dependency: expert.getDependency() ?? null,
    routes: routes.map(({ method, path, options }) => ({
      method,
      path,
      params: options.params,
      querystring: options.querystring,
      body: options.body,
      response: options.response,
      files: options.files === true,
      job: options.job === true,
      summary: options.summary
    }))
  }
}

/**
 * The SHA-256 that the expert names its model by.
 *
 * @throws TypeError when it is none
 */
export function modelSha256Of(expert: BaseExpert): string | null {
  const named: unknown = expert.getModelSha256() ?? null
  if (named === null) return null
  const digits = typeof named === 'string' ? named.toLowerCase() : ''
  if (/^[0-9a-f]{64}$/.test(digits)) return digits
  const found = JSON.stringify(named)?.slice(0, 80) ?? typeof named
  throw new TypeError(`getModelSha256() must answer 64 hexadecimal digits or null, found ${found}`)
}

/** True when status, cfg or tasks are the expert's own functions, whose answers may change unasked. */
export function overridesMirror(expert: BaseExpert): boolean {
  let base = Object.getPrototypeOf(expert)
  while (base !== null && !Object.hasOwn(base.constructor, baseExpertMark)) {
    base = Object.getPrototypeOf(base)
  }
  return (['getStatus', 'getCfg', 'getTasks'] as const).some(
    (name) => expert[name] !== base?.[name]
  )
}
