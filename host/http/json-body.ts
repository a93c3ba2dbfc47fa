import { jsonText } from './json-text.ts'
import { type JsonFault, MAX_NESTING, parsePythonJson } from './python-json.ts'

/** The `Issue` of the SDK's validation, as far as a body can have one before it is validated. */
export interface JsonIssue {
  loc: (string | number)[]
  msg: string
  type: string
  ctx?: Record<string, unknown>
}

/**
 * What a body is: its value, one issue (422), or `undecodable` (400, as FastAPI): bytes that are no
 * text, or lists and objects nested more than 1,000 deep.
 */
export type JsonBody =
  | { value: unknown; issues?: undefined; undecodable?: undefined }
  | { value?: undefined; issues: JsonIssue[]; undecodable?: undefined }
  | { value?: undefined; issues?: undefined; undecodable: true }

/** Most characters of the body that an issue repeats. */
const MAX_DOC = 1000

const undecodable: JsonBody = { undecodable: true }

/**
 * Reads a JSON body as Python's `json.loads(bytes)` does: UTF-8, UTF-16 or UTF-32, with `NaN` and
 * `Infinity`, the last of two equal keys wins. A key named `__proto__` is an own property.
 *
 * No bytes at all are no body: that is for the caller to see before. A body of `null` is the value
 * `null`, which FastAPI counts as no body.
 */
export function parseJsonBody(bytes: Buffer): JsonBody {
  const text = jsonText(bytes)
  if (text === undefined) return undecodable
  try {
    const value = JSON.parse(text)
    return isTooDeep(text) ? undecodable : { value }
  } catch {
    // Not JSON, unless Python sees it otherwise.
  }
  const outcome = parsePythonJson(text)
  if ('tooDeep' in outcome) return undecodable
  return 'value' in outcome ? outcome : { issues: [issueOf(outcome.fault, text)] }
}

function issueOf({ why, at }: JsonFault, text: string): JsonIssue {
  const before = text.slice(0, at)
  const pos = lengthInPoints(before)
  const lineno = before.split('\n').length
  const colno = lengthInPoints(before.slice(before.lastIndexOf('\n') + 1)) + 1
  const doc = Array.from(text.slice(0, 2 * MAX_DOC))
    .slice(0, MAX_DOC)
    .join('')
  return {
    loc: ['body', pos],
    msg: `${why}: line ${lineno} column ${colno} (char ${pos})`,
    type: 'value_error.jsondecode',
    ctx: { msg: why, doc, pos, lineno, colno }
  }
}

// Python counts characters where JavaScript counts UTF-16 units.
function lengthInPoints(text: string): number {
  let points = text.length
  for (let i = 1; i < text.length; i++) {
    if (isHigh(text.charCodeAt(i - 1)) && isLow(text.charCodeAt(i))) points--
  }
  return points
}

const isHigh = (unit: number) => unit >= 0xd800 && unit < 0xdc00
const isLow = (unit: number) => unit >= 0xdc00 && unit < 0xe000

// JSON.parse takes any depth, and what walks the value later would fill the stack. Only a long text
// can be that deep; its strings are skipped by search.
function isTooDeep(text: string): boolean {
  if (text.length <= 2 * MAX_NESTING) return false
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 0x22) i = endOfString(text, i)
    else if (unit === 0x5b || unit === 0x7b) depth++
    else if (unit === 0x5d || unit === 0x7d) depth--
    if (depth > MAX_NESTING) return true
  }
  return false
}

function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let slash = end - 1
    while (text.charCodeAt(slash) === 0x5c) slash--
    if ((end - slash) % 2 === 1) return end
  }
}
