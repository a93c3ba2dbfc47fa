/** Paths that every expert has; its own routes may not shadow them. */
const RESERVED = [
  '/',
  '/status',
  '/cfg',
  '/set',
  '/log-level',
  '/tasks',
  '/jobs',
  '/predict',
  '/docs',
  '/redoc',
  '/openapi.json'
]
const RESERVED_UNDER = ['/jobs/', '/predict/', '/docs/', '/redoc/']
const MAX_ROUTES = 200
// Without ( ) and *, which the router would take for patterns of its own.
const LEGAL_PATH = /^(\/[A-Za-z0-9._~:!$&'+,;=@-]*)+$/

/**
 * Checks the paths of an expert's own routes against each other and against those every expert has.
 *
 * @throws Error naming the route and what is wrong with it
 */
export function checkRoutes(routes: Array<{ method: string; path: string }>): void {
  if (routes.length > MAX_ROUTES) {
    throw new Error(`it declares ${routes.length} routes; at most ${MAX_ROUTES} are taken`)
  }
  const shapes = new Map<string, string>()
  for (const { method, path } of routes) {
    const title = `${method} ${path}`
    checkPath(title, path)
    const shape = `${method} ${path.replace(/(?<=\/):[A-Za-z_]\w*/g, ':')}`
    const twin = shapes.get(shape)
    if (twin !== undefined) throw new Error(`route ${title} is declared twice (as ${twin})`)
    shapes.set(shape, title)
  }
}

function checkPath(title: string, path: string): void {
  if (!LEGAL_PATH.test(path) || path.includes('//') || (path.length > 1 && path.endsWith('/'))) {
    throw new Error(
      `route ${title}: segments of letters, digits and - . _ ~ : ! $ & ' + , ; = @ are wanted, with no slash at the end`
    )
  }
  const shadows =
    RESERVED.includes(path) ||
    RESERVED_UNDER.some((start) => path.startsWith(start)) ||
    // A first segment that is a parameter would answer for all of those paths.
    /^\/:[A-Za-z_]\w*(\/|$)/.test(path)
  if (shadows) throw new Error(`route ${title} shadows a path that every expert has`)
}
