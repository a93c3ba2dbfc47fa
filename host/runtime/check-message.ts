const logWords: unknown[] = ['debug', 'info', 'warn', 'error']

/**
 * True when a message has the parts that its kind promises. An expert's process is not trusted: its
 * code can write to the channel too.
 */
export function isToHost(head: readonly unknown[]): boolean {
  switch (head[0]) {
    case 'result':
      return isNumber(head[1])
    case 'error':
      return isNumber(head[1]) && isWireError(head[2])
    case 'reply':
      return isNumber(head[1]) && isAnswerHead(head[2])
    case 'ask':
      return isNumber(head[1]) && isText(head[2])
    case 'progress':
      return isNumber(head[1]) && isNumber(head[2]) && isTextOrNull(head[3])
    case 'log':
      return (
        logWords.includes(head[1]) &&
        isText(head[2]) &&
        isObject(head[3] ?? {}) &&
        isTextOrNull(head[4])
      )
    case 'mirror':
      return isMirror(head[1])
    case 'described':
      return isObject(head[1])
    case 'ready':
      return head[1] === null || isObject(head[1])
    case 'failed':
    case 'fatal':
      return isWireError(head[1])
    default:
      return head[0] === 'pong'
  }
}

function isMirror(value: unknown): boolean {
  if (!isObject(value) || !Array.isArray(value.tasks) || !isTextOrNull(value.status)) return false
  return value.modelSha256 === null || isSha256(value.modelSha256)
}

function isSha256(value: unknown): boolean {
  return isText(value) && /^[0-9a-f]{64}$/.test(value)
}

function isAnswerHead(value: unknown): boolean {
  if (!isObject(value) || !isStatus(value.status, 200) || !isTextOrNull(value.type)) return false
  return value.file === null || (isObject(value.file) && isText(value.file.path))
}

function isWireError(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value.code) &&
    isText(value.message) &&
    isStatus(value.statusCode, 400)
  )
}

function isStatus(value: unknown, least: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= 599
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number'
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isTextOrNull(value: unknown): boolean {
  return value === null || isText(value)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
