import { readFileSync } from 'node:fs'
import t from 'tap'
import { normalizeText, UnigramTokenizer } from '../unigram-tokenizer.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const vocabulary: Array<[string, number | null]> = JSON.parse(read('../model/vocab.json'))
// Made with SentencePiece 0.2.3 from the same vocabulary as a unigram model, with its rule nmt_nfkc.
const known = read('fixtures/pieces.ndjson')
  .trim()
  .split('\n')
  .map((line): [text: string, ids: number[]] => JSON.parse(line))
const tokenizer = new UnigramTokenizer(vocabulary)
const piecesOf = (text: string) => tokenizer.encode(text, 1e6).ids.map((id) => vocabulary[id]![0])

t.test('texts are cut as SentencePiece cuts them', async (t) => {
  const other = known.filter(([text, ids]) => tokenizer.encode(text, 1e6).ids.join() !== ids.join())
  t.strictSame(other, [])
  t.ok(known.length > 240)
})

t.test('the pieces joined are the text', async (t) => {
  let whole = 0
  for (const [text, ids] of known) {
    if (ids.includes(0)) continue
    whole += 1
    const joined = piecesOf(text).join('').replaceAll('\u2581', ' ')
    t.equal(joined, ` ${normalizeText(text)}`)
  }
  t.ok(whole > 200, 'most have only known signs')
})

t.test('the likeliest pieces are taken, as reckoned by hand', async (t) => {
  const small = new UnigramTokenizer([
    ['?', 0],
    ...['a', 'b', 'c', 'd', 'e'].map((name): [string, number] => [`<${name}>`, 0]),
    ['\u2581', -1],
    ['ab', -2],
    ['\u2581a', -2.5],
    ['b', -3],
    ['abc', -6],
    ['c', -3.5]
  ])
  // ▁ ab c: -6.5; ▁a b c: -9; ▁ abc: -7.
  t.same(small.encode('abc', 10).ids, [6, 7, 11])
  t.same(small.encode('abzzb', 10).ids, [6, 7, 0, 9], 'unknown signs in a row are one')
  t.same(small.encode('<b>', 10).ids, [6, 0, 9, 0], 'names of reserved pieces are text')
})

t.test('a text is cut at the limit, and only then said to be', async (t) => {
  const { ids } = tokenizer.encode('one two three four', 100)
  t.same(tokenizer.encode('one two three four', ids.length), { ids, isCut: false })
  const shorter = { ids: ids.slice(0, -1), isCut: true }
  t.same(tokenizer.encode('one two three four', ids.length - 1), shorter)
  const one = tokenizer.encode('x'.repeat(1_000_000), 128)
  t.equal(one.ids.length, 128)
  t.equal(one.isCut, true)
  t.equal(tokenizer.encode('😀'.repeat(500_000), 128).isCut, true)
})

t.test('what has no signs has no pieces', async (t) => {
  for (const text of ['', ' ', '\t\n ', '\0', '\u0001\u0002', '\u200b', '\u2581']) {
    t.same(tokenizer.encode(text, 128), { ids: [], isCut: false }, JSON.stringify(text))
  }
  t.same(piecesOf('\ud83d'), ['\u2581', vocabulary[0]![0]], 'half a sign is an unknown one')
  t.same(tokenizer.encode('a\0b', 9), tokenizer.encode('ab', 9))
})
