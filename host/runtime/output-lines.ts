import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { LineLimit } from './line-limit.ts'

/** Longest line that is kept, characters; the rest of a longer one is cut. */
const MAX_LINE = 8192
/**
 * Splits what a process writes into lines, bounded in length and number, so that a plugin that floods
 * its output costs the host neither memory nor log.
 */
export function readLines(stream: Readable, onLine: (line: string) => void): void {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  let cut = false
  const limit = new LineLimit(onLine)
  const take = (line: string) => {
    if (limit.take() && line !== '') onLine(line)
  }

  stream.on('data', (chunk: Buffer) => {
    rest += decoder.write(chunk)
    let from = 0
    for (let end = rest.indexOf('\n'); end !== -1; end = rest.indexOf('\n', from)) {
      // What followed the cut of an overlong line belongs to that line.
      if (!cut) take(rest.slice(from, Math.min(end, from + MAX_LINE)).trimEnd())
      cut = false
      from = end + 1
    }
    rest = rest.slice(from)
    if (rest.length > MAX_LINE) {
      if (!cut) take(`${rest.slice(0, MAX_LINE)}…`)
      cut = true
      rest = ''
    }
  })
  stream.on('end', () => {
    if (rest !== '' && !cut) take(rest)
    limit.end()
  })
}
