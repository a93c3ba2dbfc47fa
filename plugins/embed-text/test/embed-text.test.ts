import { testExpert } from '@nebula-experts/sdk/testing'
import t from 'tap'
import EmbedTextExpert from '../index.ts'

interface Item {
  id?: string
  embedding?: number[] | null
  truncated?: true
  error?: string
  token?: string
}

// Each says on the left and the right the same in other words.
const PAIRS = [
  ['How can I reset my password?', 'I forgot my login and want a new one.'],
  ['The train to Berlin is late.', 'The railway service for Berlin has a delay.'],
  ['My dog loves to chase cats.', 'Our puppy enjoys running after kittens.'],
  ['The soup needs more salt.', 'This broth tastes bland without seasoning.'],
  ['Share prices fell sharply on Monday.', 'The stock market dropped at the start of the week.'],
  ['It will rain all afternoon.', 'The forecast says wet weather for the rest of the day.'],
  ['She plays the violin in an orchestra.', 'She is a musician who performs classical music.'],
  ['The doctor told him to stop smoking.', 'His physician advised him to give up cigarettes.'],
  ['Where can I park my car?', 'Is there a place nearby to leave my vehicle?'],
  ['The film was boring and too long.', 'That movie was dull and went on forever.'],
  ['He repaired the broken bicycle.', 'He fixed the bike that did not work.'],
  ['The children are learning to swim.', 'Kids take swimming lessons in the pool.'],
  ['We planted tomatoes in the garden.', 'We are growing vegetables behind the house.'],
  ['The server ran out of memory.', 'The computer crashed because no RAM was left.'],
  ['The museum is closed on Tuesdays.', 'You cannot visit the gallery on a Tuesday.'],
  ['The volcano erupted last night.', 'Lava and ash came out of the mountain yesterday.'],
  ['I would like to cancel my order.', 'Please do not send what I bought, I changed my mind.']
] as const

process.env['NEBULA_ONNX_THREADS'] = '1'
let kept: Array<{ id: string; type: string; expert_meta: Record<string, unknown> }> = []
const expert = await testExpert(t, EmbedTextExpert, {
  name: 'embed-text',
  ask: async (what, given) => {
    if (what !== 'tokens.saveImages') throw new Error(`it does not ask for ${what}`)
    kept.push(...(given as typeof kept))
    return (given as typeof kept).map(({ id }) => `ImageTokens/${id}`)
  }
})
const embed = async (texts: unknown[], output = 'json') => {
  const { value } = await expert.request('POST', '/embed', { body: { texts, output } })
  return (value as { result: Item[] }).result
}
const vectorsOf = async (texts: unknown[]) =>
  (await embed(texts)).map(({ embedding }) => embedding as number[])
const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)

t.test('a paraphrase is nearer than every other sentence', async (t) => {
  const left = await vectorsOf(PAIRS.map(([text]) => text))
  const right = await vectorsOf(PAIRS.map(([, text]) => text))
  for (const [place, vector] of left.entries()) {
    const others = [...left.filter((_, other) => other !== place), ...right]
    const scores = others.map((other) => dot(vector, other))
    const best = scores.indexOf(Math.max(...scores)) - (left.length - 1)
    t.equal(best, place, PAIRS[place]![0])
  }
})

t.test(
  'vectors have 512 numbers and length 1, and a list answers what each alone does',
  async (t) => {
    const texts: string[] = PAIRS.flat()
    // Of many lengths, so that short ones stand beside long ones in one run.
    texts.push(...['a', '😀', 'word '.repeat(60), texts.slice(0, 12).join(' ')])
    const together = await vectorsOf(texts)
    for (const [place, text] of texts.entries()) {
      const [alone] = await vectorsOf([text])
      t.equal(alone!.length, 512)
      t.ok(Math.abs(Math.sqrt(dot(alone!, alone!)) - 1) < 1e-5)
      const off = Math.max(...alone!.map((value, i) => Math.abs(value - together[place]![i]!)))
      t.ok(off <= 1e-5, `${off} off: ${text.slice(0, 30)}`)
    }
  }
)

t.test(
  'what cannot be embedded has an error in its place and takes nothing from the others',
  async (t) => {
    const result = await embed(['one', '', ' \n', '\0', 'two', '\ud83d', '😀'])
    t.same(
      result.map(({ embedding }) => embedding?.length ?? null),
      [512, null, null, null, 512, 512, 512]
    )
    t.match(result[2], { embedding: null, error: /'texts\[2\]' holds no letters/ })
    t.same(await embed([]), [])
  }
)

t.test('of a long text the beginning counts, and the answer says so', async (t) => {
  const long = 'All models are wrong, but some are useful. '.repeat(25_000)
  const [whole, start, short] = await embed([long, long.slice(0, 5000), 'short'])
  t.equal(whole!.truncated, true)
  t.same(whole!.embedding, start!.embedding)
  t.equal(short!.truncated, undefined)
})

t.test('a request that cannot be is refused, naming the field', async (t) => {
  const code = 'EXP_BAD_INPUT'
  const refused = (texts: unknown, message: RegExp, output?: string) =>
    t.rejects(expert.request('POST', '/embed', { body: { texts, output } }), { code, message })
  await refused('a', /texts/)
  await refused(['a', 5], /texts\.1/)
  await refused([{ id: '', text: 'a' }], /texts\.0/)
  await refused(new Array(10_001).fill('a'), /texts: .*10000/)
  await refused([{ id: 'a', text: 'a' }, 'b'], /'texts\[1\]\.id' is missing/, 'db')
  await refused(
    [
      { id: 'a', text: 'a' },
      { id: 'a', text: 'b' }
    ],
    /'texts\[1\]\.id' is "a", as 'texts\[0\]\.id'/,
    'db'
  )
  await refused(['a'], /output/, 'file')
  const similar = (body: object, message: RegExp) =>
    t.rejects(expert.request('POST', '/similar', { body }), { code, message })
  await similar({ text: ' ' }, /'text'/)
  await similar({ text: 'a', top_k: 1001 }, /top_k/)
  await similar({ text: 'a', min_score: 2 }, /min_score/)
  t.same(kept, [], 'nothing was saved of it')
})

t.test('output says where the vectors go', async (t) => {
  const texts = [
    { id: 'x', text: 'one' },
    { id: 'none', text: ' ' },
    { id: 'y', text: `two ${'😀'.repeat(2000)}` }
  ]
  const saved = await embed(texts, 'db')
  t.match(saved[0], { id: 'x', token: 'ImageTokens/x' })
  t.equal(saved[0]!.embedding, undefined)
  t.match(saved[1], { id: 'none', embedding: null, error: String })
  t.equal(saved[1]!.token, undefined)
  const byId = new Map(kept.map((token) => [token.id, token]))
  t.same([...byId.keys()].sort(), ['x', 'y'])
  t.match(byId.get('x'), { type: 'text', expert: 'embed-text', expert_meta: { text: 'one' } })
  const shown = byId.get('y')!.expert_meta.text as string
  t.ok(shown.length <= 2000 && !/[\ud800-\udbff]$/.test(shown), 'cut between two signs')
  kept = []
  const both = await embed([{ id: 'x', text: 'one' }], 'db+json')
  t.match(both, [{ id: 'x', token: 'ImageTokens/x' }])
  t.equal(both[0]!.embedding!.length, 512)
  t.equal(kept.length, 1)
})
