import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

/** One place of the host's source that writes a line of the log. */
export interface LogMessage {
  /** `path:line`, from the folder that was read. */
  place: string
  levels: string[]
  /** What it says, with `…` for what differs from time to time; null when only the run can tell. */
  text: string | null
}

const LEVELS = ['info', 'warn', 'error', 'fatal']

/** Every message of level info and above in the TypeScript under a folder, but for tests and what is built. */
export function readLogMessages(folder: string): LogMessage[] {
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !/(^|\/)(dist|test|node_modules)\//.test(path))
    .sort()
    .map((path) => {
      const text = readFileSync(join(folder, path), 'utf8')
      return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
    })
  const constants = new Map<string, string[]>()
  const found: LogMessage[] = []
  const visitAll = (each: (node: ts.Node, source: ts.SourceFile) => void) => {
    for (const source of sources) {
      const visit = (node: ts.Node): void => {
        each(node, source)
        ts.forEachChild(node, visit)
      }
      visit(source)
    }
  }
  visitAll((node, { fileName }) => {
    if (!ts.isVariableDeclaration(node) || !ts.isIdentifier(node.name)) return
    const words = wordsOf(node.initializer)
    if (words === null) return
    const key = `${fileName} ${node.name.text}`
    constants.set(key, [...(constants.get(key) ?? []), words])
  })
  visitAll((node, source) => {
    const written = ts.isCallExpression(node) ? writtenBy(node, source) : null
    if (written === null || written.levels.length === 0) return
    const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1
    const name = written.message?.getText(source) ?? ''
    // Named before: the only constant of that name in the file.
    const named = constants.get(`${source.fileName} ${name}`) ?? []
    const text = wordsOf(written.message) ?? (named.length === 1 ? (named[0] as string) : null)
    found.push({ place: `${source.fileName}:${line}`, levels: written.levels, text })
  })
  return found
}

function writtenBy({ expression, arguments: args }: ts.CallExpression, source: ts.SourceFile) {
  const [callee, first] = [expression.getText(source), args[0]]
  const last = args.at(-1)
  const named = /(?:^|\.)#?log\??\.(\w+)$/.exec(callee)?.[1]
  if (named !== undefined) return { levels: LEVELS.filter((one) => one === named), message: last }
  if (/(?:^|\.)#?log\[/.test(callee)) {
    return { levels: LEVELS.filter((level) => callee.includes(`'${level}'`)), message: last }
  }
  // Through a function of the file, or from the thread of a store.
  if (callee === 'tell' && source.fileName.startsWith('sqlite/')) {
    return { levels: ['error'], message: last }
  }
  if (/\.#tell$/.test(callee)) {
    return { levels: LEVELS.filter((one) => first?.getText(source) === `'${one}'`), message: last }
  }
  if (callee === 'send' && first !== undefined && ts.isArrayLiteralExpression(first)) {
    const [kind, level, message] = first.elements
    // What the thread was told by the `tell` above is found there.
    if (kind?.getText(source) !== "'note'" || wordsOf(message) === null) return null
    return { levels: LEVELS.filter((one) => level?.getText(source) === `'${one}'`), message }
  }
  return null
}

function wordsOf(message: ts.Expression | undefined): string | null {
  if (message === undefined) return null
  if (ts.isStringLiteralLike(message)) return message.text
  if (ts.isTemplateExpression(message)) {
    const { head, templateSpans } = message
    return templateSpans.reduce((all, span) => `${all}…${span.literal.text}`, head.text)
  }
  if (ts.isBinaryExpression(message)) {
    const [left, right] = [wordsOf(message.left), wordsOf(message.right)]
    return left === null ? null : left + (right ?? '…')
  }
  return null
}
