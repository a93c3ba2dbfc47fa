/** What a path that was not answered should be told. */
export type Miss =
  | { kind: 'not-found' }
  | { kind: 'wrong-method'; allow: string }
  | { kind: 'redirect'; path: string }

/** The paths that an application answers, for the three ways to miss one. */
export class RouteTable {
  readonly #routes: Array<{ method: string; pattern: RegExp }> = []

  /** `path` has `:name` parameters, each of one segment or, before a literal `:verb`, a part of one. */
  add(method: string, path: string): void {
    this.#routes.push({ method, pattern: patternOf(path) })
  }

  /** @param path - decoded once, without its query */
  miss(path: string): Miss {
    const allow = this.#methodsOf(path)
    if (allow.length > 0) return { kind: 'wrong-method', allow: allow.join(', ') }
    const other = path.endsWith('/') ? withoutSlashes(path) : `${path}/`
    if (this.#methodsOf(other).length > 0) return { kind: 'redirect', path: other }
    return { kind: 'not-found' }
  }

  #methodsOf(path: string): string[] {
    const matching = this.#routes.filter((route) => route.pattern.test(path))
    return [...new Set(matching.map((route) => route.method))].sort()
  }
}

/** Of `//` nothing is left: it is no other spelling of the root. */
function withoutSlashes(path: string): string {
  let end = path.length
  while (path[end - 1] === '/') end--
  return path.slice(0, end)
}

function patternOf(path: string): RegExp {
  const source = path.replace(/(?<=\/):([A-Za-z_]\w*)|[.*+?^${}()|[\]\\]/g, (found, name) => {
    if (name === undefined) return `\\${found}`
    return '[^/]+?'
  })
  return new RegExp(`^${source}$`)
}
