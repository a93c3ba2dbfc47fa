import { PassThrough } from 'node:stream'
import t from 'tap'
import { readLines } from '../runtime/output-lines.ts'

async function linesOf(chunks: Array<string | Buffer>): Promise<string[]> {
  const stream = new PassThrough()
  const lines: string[] = []
  readLines(stream, (line) => lines.push(line))
  const ended = new Promise((resolve) => stream.on('end', resolve))
  for (const chunk of chunks) stream.write(chunk)
  stream.end()
  await ended
  return lines
}

t.test('lines are whole wherever the bytes are cut', async (t) => {
  const text = Buffer.from('first\nzweite: größer 😀\r\n\n\n  last without an end')
  const wanted = ['first', 'zweite: größer 😀', '  last without an end']
  const wrong: number[] = []
  for (let cut = 1; cut < text.length; cut++) {
    const got = await linesOf([text.subarray(0, cut), text.subarray(cut)])
    if (JSON.stringify(got) !== JSON.stringify(wanted)) wrong.push(cut)
  }
  t.strictSame(wrong, [])
  t.strictSame(await linesOf([text]), wanted)
})

t.test('an overlong line is cut, in one piece or in many', async (t) => {
  const long = 'x'.repeat(100_000)
  for (const chunks of [
    [`a\n${long}\nb\n`],
    [`a\n${long.slice(0, 50_000)}`, long, `${long}\nb\n`]
  ]) {
    const [a, cut, b, ...more] = await linesOf(chunks)
    t.strictSame([a, b, more], ['a', 'b', []])
    t.match(cut, /^x{8192}…?$/)
  }
  const endless = await linesOf(Array.from({ length: 100 }, () => long))
  t.equal(endless.length, 1, 'a line without an end is shown once')
})

t.test('a flood is counted, and the count is told', async (t) => {
  const lines = await linesOf(Array.from({ length: 100 }, (_, i) => `line ${i}\n`.repeat(100)))
  const kept = lines.filter((line) => line.startsWith('line')).length
  const counted = lines.map((line) => Number(/^\((\d+) lines dropped/.exec(line)?.[1] ?? 0))
  const dropped = counted.reduce((sum, count) => sum + count, 0)
  // A new second may begin meanwhile.
  t.ok(kept >= 500 && kept <= 1500, `${kept} kept`)
  t.equal(kept + dropped, 10_000)
})
