import { type Checked, checkRoutes, compileSchema } from '@nebula-experts/sdk/schemas'
import type { ExpertDescription, RouteDescription, RouteKind } from '../runtime/messages.ts'
import { DeclaredConfig } from './declared-config.ts'
import { LEGAL_NAME, PluginError } from './plugin-source.ts'

type Check = (value: unknown, loc: (string | number)[]) => Checked

/** A route of an expert's own, checked, with its schemas compiled. */
export interface ContractRoute extends RouteDescription {
  /** The kind of its calls. */
  kind: RouteKind
  checks: { params: Check | null; querystring: Check | null; body: Check | null }
}

/** What a version of an expert promises: its description after the host has checked all of it. */
export interface ExpertContract {
  version: string
  paramsSchema: object | null
  checkExtraParams: Check | null
  config: DeclaredConfig
  predictsLists: boolean
  /** Name of the step whose results it needs; null when it needs none. */
  dependency: string | null
  routes: ContractRoute[]
}

/**
 * Checks what an expert's process said of itself; nothing of it is trusted.
 *
 * @throws PluginError or SchemaError with the reason
 */
export function makeContract(
  description: ExpertDescription,
  name: string,
  version: string
): ExpertContract {
  if (description.name !== name) {
    throw new PluginError(
      `its getName() answers '${description.name}', but it is served as '${name}': rename the entry in the configuration, or "nebula": { "expert": "${description.name}" } in its package.json`
    )
  }
  return {
    version,
    paramsSchema: description.paramsSchema,
    checkExtraParams: compile(description.paramsSchema, 'static params', 'keep'),
    config: makeConfig(description.configSchema),
    predictsLists: description.predictsLists,
    dependency: checkDependency(description.dependency),
    routes: makeRoutes(description.routes)
  }
}

function checkDependency(name: unknown): string | null {
  if (name === null || (typeof name === 'string' && LEGAL_NAME.test(name))) return name
  const found = JSON.stringify(name)?.slice(0, 80) ?? typeof name
  throw new PluginError(`its getDependency() answers ${found}, which is no name of an expert`)
}

function makeConfig(schema: object | null): DeclaredConfig {
  try {
    return new DeclaredConfig(schema)
  } catch (error) {
    throw new PluginError(`static config: ${(error as Error).message}`)
  }
}

function makeRoutes(routes: RouteDescription[]): ContractRoute[] {
  try {
    checkRoutes(routes)
  } catch (error) {
    throw new PluginError((error as Error).message)
  }
  return routes.map((route) => {
    const title = `${route.method} ${route.path}`
    return {
      ...route,
      kind: `${route.method} ${route.path}`,
      checks: {
        params: compile(route.params ?? null, `params of ${title}`),
        querystring: compile(route.querystring ?? null, `querystring of ${title}`),
        body: compile(route.body ?? null, `body of ${title}`)
      }
    }
  })
}

function compile(schema: object | null, what: string, unknownKeys: 'drop' | 'keep' = 'drop') {
  if (schema === null) return null
  try {
    return compileSchema(schema, { unknownKeys })
  } catch (error) {
    throw new PluginError(`${what}: ${(error as Error).message}`)
  }
}
