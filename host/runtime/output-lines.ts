import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'

/** Longest line that is kept, characters; the rest of a longer one is cut. */
const MAX_LINE = 8192
/** Lines a second from one stream; a flood beyond it is counted and dropped. */
const MAX_LINES_PER_SECOND = 500

/**
 * Splits what a process writes into lines, bounded in length and number, so that a plugin that floods
 * its output costs the host neither memory nor log.
 */
export function readLines(stream: Readable, onLine: (line: string) => void): void {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  let cut = false
  let second = 0
  let taken = 0
  let dropped = 0

  const take = (line: string) => {
    const now = Math.floor(performance.now() / 1000)
    if (now !== second) {
      if (dropped > 0)
        onLine(`(${dropped} lines dropped: more than ${MAX_LINES_PER_SECOND} a second)`)
      second = now
      taken = 0
      dropped = 0
    }
    if (taken >= MAX_LINES_PER_SECOND) {
      dropped += 1
      return
    }
    taken += 1
    if (line !== '') onLine(line)
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
    if (dropped > 0)
      onLine(`(${dropped} lines dropped: more than ${MAX_LINES_PER_SECOND} a second)`)
  })
}
