import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readLogMessages } from './support/log-messages.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** The rows of every table whose first heading is one of these; without the headings. */
function rowsOf(text: string, headings: string[]): string[][] {
  const rows: string[][] = []
  let isIn = false
  for (const line of text.split('\n')) {
    if (!line.startsWith('|')) {
      isIn = false
      continue
    }
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim())
    if (headings.includes(cells[0] as string)) isIn = true
    else if (isIn && !/^-+$/.test(cells[0] as string)) rows.push(cells)
  }
  return rows
}

t.test('each row of what is lost names tests that are there', async (t) => {
  const rows = rowsOf(read('docs/operating.md'), ['What dies'])
  t.ok(rows.length >= 15, `${rows.length} rows`)
  const scenarios = read('test/chaos/run.js')
  for (const [what, , shownBy = ''] of rows) {
    const paths = [...shownBy.matchAll(/`([\w/.-]+\.test\.ts)`/g)].map(([, path]) => path as string)
    t.ok(paths.length > 0, `${what}: ${shownBy}`)
    for (const path of paths) t.ok(existsSync(join(ROOT, path)), `${what}: ${path}`)
    for (const [, name] of shownBy.matchAll(/npm run chaos -- ([\w-]+)/g)) {
      t.match(scenarios, `'${name}'`, `${what}: ${name}`)
    }
  }
})

t.test('docs/log-lines.md has every line that tells of trouble, and no others', async (t) => {
  const messages = readLogMessages(join(ROOT, 'host'))
  t.ok(messages.length > 60, `${messages.length} places write a line`)
  const rows = rowsOf(read('docs/log-lines.md'), ['`msg` begins']).flatMap(
    ([begins = '', level = '', ...rest]) =>
      [...begins.matchAll(/`([^`]+)`/g)].map(([, words]) => ({
        words: words as string,
        levels: level.split(', '),
        rest
      }))
  )
  for (const { words, rest } of rows) {
    t.ok(
      rest.every((cell) => cell !== ''),
      `${words}: no cell is empty`
    )
    t.ok(
      messages.some(({ text }) => text?.startsWith(words)),
      `the host says '${words}'`
    )
  }
  for (const { place, levels, text } of messages) {
    // What an expert itself writes, told as it comes.
    if (text === null && /^(registry\/generation|runtime\/expert-instance)\.ts/.test(place))
      continue
    t.not(text, null, `${place}: its words stand in the source`)
    const [row] = rows
      .filter(({ words }) => text?.startsWith(words))
      .sort((one, other) => other.words.length - one.words.length)
    if (row === undefined && levels.every((level) => level === 'info')) continue
    t.ok(row, `${place}: '${text}' has a row`)
    for (const level of levels) t.ok(row?.levels.includes(level), `'${text}' is ${level}`)
  }
})

t.test('what operating.md says of exit codes is what the host has', async (t) => {
  const codes = [...read('host/cli/exit-codes.ts').matchAll(/= (\d+)/g)].map(([, code]) => code)
  const rows = rowsOf(read('docs/operating.md'), ['Exit code'])
  t.strictSame(rows.map(([code]) => code?.replaceAll('`', '')).sort(), ['0', ...codes].sort())
})
