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
