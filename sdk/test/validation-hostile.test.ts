import t from 'tap'
import { Type } from 'typebox'
import { compileSchema } from '../validation/index.ts'

/** Far more than any of these takes, far less than what a fault here takes. */
const SOON_MS = 3000

function timed<T>(run: () => T): { result: T; ms: number } {
  const start = performance.now()
  const result = run()
  return { result, ms: performance.now() - start }
}

t.test('no pattern of a schema can hold the server', async (t) => {
  const text = `${'a'.repeat(100_000)}!`
  const pattern = '(a+)+$'
  const schemas = [{ type: 'string', pattern }, { anyOf: [{ type: 'string', pattern }] }]
  for (const schema of [...schemas, { propertyNames: { pattern } }]) {
    const check = compileSchema(schema)
    const value = 'propertyNames' in schema ? { [text]: 1 } : text
    const { result, ms } = timed(() => check(value, []))
    t.ok(result.issues, JSON.stringify(schema))
    t.ok(ms < SOON_MS, `${ms} ms`)
  }
})

t.test('no format can hold the server', async (t) => {
  const check = compileSchema({ type: 'string', format: 'url' })
  const { result, ms } = timed(() => check(`http://${':'.repeat(1_000_000)}`, []))
  t.equal(result.issues?.[0]?.type, 'value_error.format')
  t.ok(ms < SOON_MS, `${ms} ms`)
})

t.test('duplicates are looked for in one pass', async (t) => {
  const list = Array.from({ length: 100_000 }, (_, i) => ({ i }))
  for (const schema of [{ uniqueItems: true }, { allOf: [{ uniqueItems: true }] }]) {
    const check = compileSchema(schema)
    const { result, ms } = timed(() => check([...list], []))
    t.equal(result.issues, undefined)
    t.ok(ms < SOON_MS, `${ms} ms`)
    t.equal(check([...list, { i: 7 }], []).issues?.length, 1)
  }
})

t.test('at most 100 issues are looked for', async (t) => {
  const list = Array(1_000_000).fill('x')
  const check = compileSchema(Type.Array(Type.Integer()))
  const { result, ms } = timed(() => check(list, []))
  t.equal(result.issues?.length, 100)
  t.ok(ms < SOON_MS, `${ms} ms`)
  const ajv = compileSchema({ allOf: [{ items: { type: 'integer' } }] })
  t.equal(ajv(Array(900).fill('x'), []).issues?.length, 100)
  t.equal(ajv(list, []).issues?.length, 1, 'of a large value the first only')
})

t.test('a deep value meets an issue, not the end of the stack', async (t) => {
  const Node = Type.Cyclic({ Node: Type.Object({ next: Type.Optional(Type.Ref('Node')) }) }, 'Node')
  const inAjv = {
    $defs: { Node: { properties: { next: { $ref: '#/$defs/Node' } } } },
    allOf: [{ $ref: '#/$defs/Node' }]
  }
  const deep = (levels: number) => {
    let value: object = {}
    for (let i = 1; i < levels; i++) value = { next: value }
    return value
  }
  t.equal(compileSchema(Node)(deep(100), []).issues, undefined, '100 levels are fine')
  t.equal(compileSchema(Node)(deep(101), []).issues?.[0]?.loc.length, 100, '101 are not')
  for (const schema of [Node, inAjv, { enum: [deep(2)] }, { $ref: '#' }, { not: { $ref: '#' } }]) {
    const { issues } = compileSchema(schema)(deep(50_000), [])
    t.equal(issues?.length, 1, JSON.stringify(schema))
    t.equal(issues?.[0]?.type, 'value_error.recursion')
  }
})

t.test('references that double at each level end', async (t) => {
  const $defs: Record<string, object> = { A40: { type: 'string' } }
  for (let i = 0; i < 40; i++) {
    const $ref = `#/$defs/A${i + 1}`
    $defs[`A${i}`] = { allOf: [{ $ref }, { $ref }] }
  }
  const { result, ms } = timed(() => compileSchema({ $defs, $ref: '#/$defs/A0' })('x', []))
  t.equal(result.issues?.[0]?.type, 'value_error.recursion')
  t.ok(ms < SOON_MS, `${ms} ms`)
})

t.test('a good body costs microseconds', async (t) => {
  const check = compileSchema(
    Type.Object({
      movie_id: Type.String(),
      scene_element: Type.Union([Type.Integer(), Type.Null()], { default: null }),
      local: Type.Boolean(),
      extra_params: Type.Record(Type.String(), Type.Unknown()),
      output: Type.String({ default: 'json' })
    })
  )
  const body = { movie_id: 'Movies/1', scene_element: 1, local: false, extra_params: { a: 1 } }
  const loc = ['body']
  const { ms } = timed(() => {
    for (let i = 0; i < 200_000; i++) check(body, loc)
  })
  t.comment(`${((ms / 200_000) * 1000).toFixed(3)} microseconds`)
  t.ok(ms / 200 < 10, 'less than 10 microseconds on a busy machine')
})
