import t from 'tap'
import { Type } from 'typebox'
import { compileSchema, SchemaError } from '../validation/index.ts'

const cyclic: { type: string; properties: Record<string, unknown> } = {
  type: 'object',
  properties: {}
}
cyclic.properties.self = cyclic

function nested(levels: number): object {
  let schema: object = { type: 'string' }
  for (let i = 1; i < levels; i++) schema = { type: 'array', items: schema }
  return schema
}

function wide(nodes: number): object {
  const names = Array.from({ length: nodes - 1 }, (_, i) => `a${i}`)
  return { properties: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) }
}

/** What is refused, where, and what the message says was found or wanted. */
const refused: [name: string, schema: unknown, path: string, problem: RegExp][] = [
  ['no object', 'string', '', /wanted a schema/],
  ['a list', [], '', /found a list/],
  ['null', null, '', /found null/],
  ['a function', { properties: { a: { default: () => 1 } } }, '/properties/a/default', /function/],
  ['a date', { enum: [new Date(0)] }, '/enum/0', /Date.*wanted plain JSON/],
  ['no JSON number', { const: Number.NaN }, '/const', /NaN/],
  ['a cycle', cyclic, '/properties/self', /contains itself/],
  ['33 levels', nested(33), '/items'.repeat(32), /32 levels/],
  ['2,001 nodes', wide(2001), '/properties/a1999', /2000 nodes/],
  ['256 KiB and more', { description: 'x'.repeat(257 * 1024) }, '', /bytes/],
  ['an unknown type', { items: { type: 'text' } }, '/items/type', /'text', wanted one of string/],
  ['a type of TypeBox alone', Type.Object({ a: Type.BigInt() }), '/properties/a/type', /bigint/],
  ['no schema in it', { properties: { 'a/b': 5 } }, '/properties/a~1b', /wanted a schema/],
  ['a bad keyword', { minLength: '3' }, '/minLength', /'3', wanted a whole number/],
  ['a bad keyword of Ajv', { items: { minProperties: 'x' } }, '/items', /minProperties/],
  ['a remote $ref', { $ref: 'https://x.org/y.json' }, '/$ref', /leads out of this schema/],
  ['a $ref to a file', { not: { $ref: 'y.json#/a' } }, '/not/$ref', /leads out/],
  ['a $ref to nowhere', { $ref: '#/$defs/B', $defs: { A: {} } }, '/$ref', /#\/\$defs\/A/],
  ['$dynamicRef', { $dynamicRef: '#a' }, '/$dynamicRef', /plain \$ref/],
  ['look-ahead', { pattern: 'a(?=b)' }, '/pattern', /RE2/],
  ['a back reference', { patternProperties: { '(a)\\1': {} } }, '/patternProperties/(a)\\1', /RE2/],
  ['no pattern', { anyOf: [{ pattern: '[' }] }, '/anyOf/0/pattern', /RE2/]
]

t.test('a schema that cannot be trusted is refused with the place', async (t) => {
  for (const [name, schema, path, problem] of refused) {
    try {
      compileSchema(schema as object)
      t.fail(`${name} was accepted`)
    } catch (error) {
      t.ok(error instanceof SchemaError, name)
      t.match(error, { code: 'EXP_BAD_SCHEMA', path, message: problem }, name)
      t.ok((error as Error).message.includes(path), 'the message has the path')
    }
  }
})

t.test('what is at the limits is accepted', async (t) => {
  t.equal(compileSchema(nested(32))('x', []).issues?.[0]?.type, 'type_error.list')
  t.strictSame(compileSchema(wide(2000))({ a7: 1 }, []).value, { a7: '1' })
  t.strictSame(compileSchema({ description: 'x'.repeat(255 * 1024) })(1, []).value, 1)
})

t.test('marks that are no JSON Schema are left behind', async (t) => {
  const schema = { type: 'integer', [Symbol('mark')]: () => 1, title: undefined }
  Object.defineProperty(schema, '~kind', { value: () => 1, enumerable: false })
  t.equal(compileSchema(schema)('5', []).value, 5)
})

t.test('references by pointer, anchor and id lead to the same place', async (t) => {
  const $defs = { 'a b/c': { $id: 'Count', $anchor: 'count', type: 'integer' } }
  for (const $ref of ['#/$defs/a%20b~1c', '#count', 'Count', '#/properties/n']) {
    const schema = { $defs, properties: { n: { type: 'integer' }, x: { $ref } } }
    t.strictSame(compileSchema(schema)({ x: '1' }, []).value, { x: 1 }, $ref)
    const inAjv = { $defs, properties: { n: { type: 'integer' } }, not: { $ref } }
    t.equal(compileSchema(inAjv)('x', []).issues, undefined, `${$ref} in Ajv`)
  }
})

t.test('a schema changed after it was compiled changes nothing', async (t) => {
  const schema = { type: 'string', enum: ['a'], default: 'a' }
  const check = compileSchema(schema)
  schema.enum.push('b')
  schema.default = 'b'
  t.equal(check(undefined, []).value, 'a')
  t.equal(check('b', []).issues?.length, 1)
})
