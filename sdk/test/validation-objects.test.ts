import t from 'tap'
import { Type } from 'typebox'
import { compileSchema } from '../validation/index.ts'

const types = (checked: ReturnType<ReturnType<typeof compileSchema>>) =>
  checked.issues?.map(({ loc, type }) => [loc.join('.'), type])

t.test('fields come in the order they are declared, defaults filled in', async (t) => {
  const check = compileSchema(
    Type.Object({
      a: Type.Integer(),
      b: Type.String({ default: 'x' }),
      c: Type.Optional(Type.Boolean()),
      d: Type.Boolean()
    })
  )
  const given = { d: 'no', z: 1, a: '2' }
  const { value } = check(given, [])
  t.equal(JSON.stringify(value), '{"a":2,"b":"x","d":false}')
  t.strictSame(given, { d: 'no', z: 1, a: '2' }, 'what was given is as before')
})

t.test('issues come in the order of the fields, with indexes as integers', async (t) => {
  const Image = Type.Object({ id: Type.String(), url: Type.String() })
  const check = compileSchema(Type.Object({ n: Type.Integer(), images: Type.Array(Image) }))
  t.same(types(check({ images: [{ url: [] }, 5, null], n: 'x' }, ['body'])), [
    ['body.n', 'type_error.integer'],
    ['body.images.0.id', 'value_error.missing'],
    ['body.images.0.url', 'type_error.str'],
    ['body.images.1', 'type_error.dict'],
    ['body.images.2', 'type_error.none.not_allowed']
  ])
  t.equal(check({ n: 1, images: [{}] }, ['body']).issues?.[0]?.loc[2], 0)
})

t.test('no value at all is the default, or a field that is required', async (t) => {
  t.strictSame(compileSchema(Type.Object({}))(undefined, ['body']), {
    issues: [{ loc: ['body'], msg: 'field required', type: 'value_error.missing' }]
  })
  t.strictSame(compileSchema(Type.Array(Type.Integer(), { default: [1] }))(undefined, []), {
    value: [1]
  })
})

t.test('every default is a fresh copy', async (t) => {
  const schema = Type.Object({ a: Type.Array(Type.Unknown(), { default: [{ n: 1 }] }) })
  const check = compileSchema<{ a: { n: number }[] }>(schema)
  const first = check({}, []).value!
  first.a[0]!.n = 2
  t.strictSame(check({}, []).value, { a: [{ n: 1 }] })
  t.strictSame(schema.properties.a, Type.Array(Type.Unknown(), { default: [{ n: 1 }] }))
})

t.test('unknown keys are dropped, kept or refused', async (t) => {
  const properties = { a: Type.Integer() }
  const given = { y: 2, z: 1, x: 3, a: '3' }
  const check = compileSchema(Type.Object(properties), { unknownKeys: 'keep' })
  t.equal(JSON.stringify(compileSchema(Type.Object(properties))(given, []).value), '{"a":3}')
  t.equal(JSON.stringify(check(given, []).value), '{"a":3,"y":2,"z":1,"x":3}')

  const strict = compileSchema(Type.Object(properties, { additionalProperties: false }))
  const issue = { msg: 'extra fields not permitted', type: 'value_error.extra' }
  t.strictSame(
    strict(given, ['body']).issues,
    ['x', 'y', 'z'].map((key) => ({ loc: ['body', key], ...issue }))
  )
  const open = compileSchema(Type.Object(properties, { additionalProperties: Type.Boolean() }))
  t.strictSame(open({ a: 1, z: 'yes' }, []).value, { a: 1, z: true })
  t.same(types(open({ a: 1, y: 2 }, [])), [['y', 'type_error.bool']])
})

t.test('records keep and check what their pattern takes', async (t) => {
  const check = compileSchema(Type.Record(Type.String(), Type.Integer()))
  t.strictSame(check({ b: '1', a: 2 }, []).value, { b: 1, a: 2 })
  t.same(types(check({ b: 'x' }, ['p'])), [['p.b', 'type_error.integer']])

  const some = compileSchema({ type: 'object', patternProperties: { '^n': { type: 'integer' } } })
  t.strictSame(some({ n1: '1', other: 2 }, []).value, { n1: 1 })
  const none = { ...{ type: 'object', additionalProperties: false } }
  const refusing = compileSchema({ ...none, patternProperties: { '^n': {} } })
  t.same(types(refusing({ n1: 1, other: 2 }, [])), [['other', 'value_error.extra']])
})

t.test('keys that every object has are data', async (t) => {
  const names = ['__proto__', 'constructor', 'toString']
  const properties = JSON.parse('{"__proto__":{"type":"integer"}}')
  for (const name of names.slice(1)) properties[name] = { type: 'integer' }
  const schema = { type: 'object', properties, required: names }
  const check = compileSchema(schema)
  t.same(
    types(check({}, [])),
    names.map((name) => [name, 'value_error.missing'])
  )
  const text = '{"__proto__":1,"constructor":2,"toString":3}'
  t.equal(JSON.stringify(check(JSON.parse(text), []).value), text)

  const hostile = JSON.parse('{"__proto__":{"polluted":true},"a":1}')
  for (const keep of [
    compileSchema(Type.Object({ a: Type.Integer() }), { unknownKeys: 'keep' }),
    compileSchema(Type.Record(Type.String(), Type.Union([Type.Object({}), Type.Integer()])))
  ]) {
    const value = keep(hostile, []).value as object
    t.ok(Object.hasOwn(value, '__proto__'))
    t.equal(Object.getPrototypeOf(value), Object.prototype)
  }
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('a schema that refers to itself is followed as deep as the value goes', async (t) => {
  const Tree = Type.Cyclic(
    { Node: Type.Object({ v: Type.Integer(), kids: Type.Array(Type.Ref('Node')) }) },
    'Node'
  )
  const check = compileSchema(Tree)
  const given = { v: '1', kids: [{ v: '2', kids: [{ v: 3, kids: [], z: 0 }] }] }
  t.strictSame(check(given, []).value, { v: 1, kids: [{ v: 2, kids: [{ v: 3, kids: [] }] }] })
  const bad = { v: 1, kids: [{ v: 2, kids: [{ v: 'x' }] }] }
  t.same(types(check(bad, [])), [
    ['kids.0.kids.0.v', 'type_error.integer'],
    ['kids.0.kids.0.kids', 'value_error.missing']
  ])
})
