import { type Checked, compileSchema } from '@nebula-experts/sdk/hosting'
import type { ExpertDescription, RouteDescription } from '../runtime/messages.ts'
import { DeclaredConfig } from './declared-config.ts'
import { PluginError } from './plugin-source.ts'

type Check = (value: unknown, loc: (string | number)[]) => Checked

/** A route of an expert's own, checked, with its schemas compiled. */
export interface ContractRoute extends RouteDescription {
  /** Place among the declared routes: the kind of its calls. */
  index: number
  checks: { params: Check | null; querystring: Check | null; body: Check | null }
}

/** What a version of an expert promises: its description after the host has checked all of it. */
export interface ExpertContract {
  paramsSchema: object | null
  checkExtraParams: Check | null
  config: DeclaredConfig
  predictsLists: boolean
  routes: ContractRoute[]
}

/** Paths under an expert's base that are the host's, without their last parameter. */
const RESERVED = ['/status', '/cfg', '/set', '/log-level', '/tasks', '/jobs', '/predict', '/docs', '/redoc', '/openapi.json']
const RESERVED_UNDER = ['/jobs/', '/predict/', '/docs/', '/redoc/']
const MAX_ROUTES = 200
const LEGAL_PATH = /^(\/[A-Za-z0-9._~:!$&'()*+,;=@-]*)+$/

/**
 * Checks what an expert's process said of itself; nothing of it is trusted.
 *
 * @throws PluginError or SchemaError with the reason
 */
export function makeContract(description: ExpertDescription, name: string): ExpertContract {
  if (description.name !== name) {
    throw new PluginError(
      `its getName() answers '${description.name}', but it is served as '${name}': rename the entry in the configuration, or "nebula": { "expert": "${description.name}" } in its package.json`
    )
  }
  return {
    paramsSchema: description.paramsSchema,
    checkExtraParams: compile(description.paramsSchema, 'static params', 'keep'),
    config: makeConfig(description.configSchema),
    predictsLists: description.predictsLists,
    routes: makeRoutes(description.routes)
  }
}

function makeConfig(schema: object | null): DeclaredConfig {
  try {
    return new DeclaredConfig(schema)
  } catch (error) {
    throw new PluginError(`static config: ${(error as Error).message}`)
  }
}

function makeRoutes(routes: RouteDescription[]): ContractRoute[] {
  if (routes.length > MAX_ROUTES) {
    throw new PluginError(`it declares ${routes.length} routes; at most ${MAX_ROUTES} are taken`)
  }
  const shapes = new Map<string, string>()
  return routes.map((route, index) => {
    const title = `${route.method} ${route.path}`
    checkPath(route)
    const shape = `${route.method} ${route.path.replace(/(?<=\/):[A-Za-z_]\w*/g, ':')}`
    const twin = shapes.get(shape)
    if (twin !== undefined) throw new PluginError(`route ${title} is declared twice (as ${twin})`)
    shapes.set(shape, title)
    return {
      ...route,
      index,
      checks: {
        params: compile(route.params ?? null, `params of ${title}`),
        querystring: compile(route.querystring ?? null, `querystring of ${title}`),
        body: compile(route.body ?? null, `body of ${title}`)
      }
    }
  })
}

function checkPath(route: RouteDescription): void {
  const { path } = route
  const title = `route ${route.method} ${path}`
  if (!LEGAL_PATH.test(path) || path.includes('//') || (path.length > 1 && path.endsWith('/'))) {
    throw new PluginError(`${title}: segments of letters, digits and - . _ ~ : ! $ & ' ( ) * + , ; = @ are wanted, with no slash at the end`)
  }
  const shadows =
    path === '/' ||
    RESERVED.includes(path) ||
    RESERVED_UNDER.some((start) => path.startsWith(start)) ||
    // A first segment that is a parameter would answer for every path of the host.
    /^\/:[A-Za-z_]\w*$/.test(path)
  if (shadows) throw new PluginError(`${title} shadows a path that every expert has`)
}

function compile(schema: object | null, what: string, unknownKeys: 'drop' | 'keep' = 'drop') {
  if (schema === null) return null
  try {
    return compileSchema(schema, { unknownKeys })
  } catch (error) {
    throw new PluginError(`${what}: ${(error as Error).message}`)
  }
}
