import t from 'tap'
import { Type } from 'typebox'
import { compileSchema } from '../validation/index.ts'

/** Schema, a value that passes, one that does not, and pydantic's type, words and ctx for it. */
const rows: [object, unknown, unknown, string, string, object?][] = [
  [
    Type.Integer({ minimum: 0 }),
    ...(['0', -1, 'value_error.number.not_ge'] as const),
    ...(['ensure this value is greater than or equal to 0', { limit_value: 0 }] as const)
  ],
  [
    Type.Number({ maximum: 1.5 }),
    ...([1.5, 2, 'value_error.number.not_le'] as const),
    ...(['ensure this value is less than or equal to 1.5', { limit_value: 1.5 }] as const)
  ],
  [
    Type.Number({ exclusiveMinimum: 0 }),
    ...([0.1, 'nan', 'value_error.number.not_gt'] as const),
    ...(['ensure this value is greater than 0', { limit_value: 0 }] as const)
  ],
  [
    Type.Number({ exclusiveMaximum: 1e300 }),
    ...([1, 'inf', 'value_error.number.not_lt'] as const),
    ...(['ensure this value is less than 1e+300', { limit_value: 1e300 }] as const)
  ],
  [
    Type.Number({ multipleOf: 0.1 }),
    ...([0.3, 0.35, 'value_error.number.not_multiple'] as const),
    ...(['ensure this value is a multiple of 0.1', { multiple_of: 0.1 }] as const)
  ],
  [
    Type.String({ minLength: 2 }),
    ...(['😀😀', '😀', 'value_error.any_str.min_length'] as const),
    ...(['ensure this value has at least 2 characters', { limit_value: 2 }] as const)
  ],
  [
    Type.String({ maxLength: 2 }),
    ...(['😀😀', 'abc', 'value_error.any_str.max_length'] as const),
    ...(['ensure this value has at most 2 characters', { limit_value: 2 }] as const)
  ],
  [
    Type.String({ pattern: '^\\d+$' }),
    ...([12, 'x', 'value_error.str.regex'] as const),
    ...(['string does not match regex "^\\d+$"', { pattern: '^\\d+$' }] as const)
  ],
  [
    Type.Array(Type.Integer(), { minItems: 1 }),
    ...([[1], [], 'value_error.list.min_items'] as const),
    ...(['ensure this value has at least 1 items', { limit_value: 1 }] as const)
  ],
  [
    Type.Array(Type.Integer(), { maxItems: 1 }),
    ...([[1], ['x', 'y'], 'value_error.list.max_items'] as const),
    ...(['ensure this value has at most 1 items', { limit_value: 1 }] as const)
  ],
  [
    Type.Array(Type.Unknown(), { uniqueItems: true }),
    [1, '1', { a: 1, b: 2 }],
    [
      { a: 1, b: 2 },
      { b: 2, a: 1 }
    ],
    ...(['value_error.list.unique_items', 'the list has duplicated items'] as const)
  ],
  [
    Type.Tuple([Type.Integer(), Type.String()]),
    ...([[1, 'a'], [1], 'value_error.tuple.length'] as const),
    ...(['wrong tuple length 1, expected 2', { actual_length: 1, expected_length: 2 }] as const)
  ],
  [
    Type.Enum(['a', "it's", 3]),
    ...(['a', 'b', 'type_error.enum'] as const),
    `value is not a valid enumeration member; permitted: 'a', "it's", 3`,
    { enum_values: ['a', "it's", 3] }
  ],
  [
    Type.Literal('x'),
    ...(['x', 'y', 'value_error.const', "unexpected value; permitted: 'x'"] as const),
    { given: 'y', permitted: ['x'] }
  ],
  [
    Type.Union([Type.Literal('a'), Type.Literal(1), Type.Null()]),
    ...([null, 'b', 'value_error.const', "unexpected value; permitted: 'a', 1"] as const),
    { given: 'b', permitted: ['a', 1] }
  ],
  // Python has no words for the rest: Ajv's.
  [
    Type.String({ format: 'email' }),
    ...(['a@b.de', 'a', 'value_error.format', 'must match format "email"'] as const)
  ],
  [
    { type: 'object', dependentRequired: { a: ['b'] } },
    ...([{ b: 1 }, { a: 1 }, 'value_error.dependentRequired'] as const),
    'must have property b when property a is present'
  ],
  [{ not: { type: 'string' } }, 1, 'x', 'value_error.not', 'must NOT be valid']
]

t.test('each constraint has the words that clients know', async (t) => {
  for (const [schema, good, bad, type, msg, ctx] of rows) {
    const check = compileSchema(schema)
    t.equal(check(good, []).issues, undefined, `${type}: ${JSON.stringify(good)} passes`)
    const issue = { loc: ['body'], msg, type }
    t.strictSame(check(bad, ['body']).issues, [ctx ? { ...issue, ctx } : issue])
  }
})

t.test('an enum of numbers reads texts, one of texts takes nothing else', async (t) => {
  const numbers = compileSchema({ type: 'integer', enum: [1, 2] })
  t.equal(numbers('2', []).value, 2)
  t.equal(numbers('x', []).issues?.[0]?.type, 'type_error.integer')
  const texts = compileSchema({ type: 'string', enum: ['1'] })
  t.equal(texts(1, []).issues?.[0]?.type, 'type_error.enum')
  t.equal(texts(null, []).issues?.[0]?.type, 'type_error.none.not_allowed')
})

t.test('what Ajv checks is the coerced value, located where it lies', async (t) => {
  const check = compileSchema({
    type: 'object',
    properties: {
      n: { type: 'integer' },
      list: { type: 'array', items: { anyOf: [{ type: 'integer' }, { $ref: '#/$defs/Flag' }] } }
    },
    if: { properties: { n: { const: 3 } } },
    // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
    then: { required: ['list'] },
    $defs: { Flag: { type: 'object', properties: { f: { type: 'boolean' } } } }
  })
  t.strictSame(check({ n: '4' }, []).value, { n: 4 })
  t.match(check({ n: '3' }, ['b']).issues, [{ loc: ['b'], type: 'value_error.required' }])
  const { issues } = check({ n: 3, list: [1, { f: 'x' }] }, ['b'])
  t.match(issues, [
    { loc: ['b', 'list', 1], type: 'value_error.type' },
    { loc: ['b', 'list', 1, 'f'], type: 'value_error.type' },
    { loc: ['b', 'list', 1], type: 'value_error.anyOf' }
  ])
})

t.test('Ajv locates items by integers and keys by strings', async (t) => {
  const items = { properties: { 'a/~1': { additionalProperties: { type: 'integer' } } } }
  const check = compileSchema({ allOf: [{ items }] })
  const { issues } = check([{}, { 'a/~1': { 0: 'x' } }], ['b'])
  t.strictSame(issues?.[0]?.loc, ['b', 1, 'a/~1', '0'])
})

t.test('keys that only a branch declares stay for it', async (t) => {
  const check = compileSchema(
    Type.Object({ kind: Type.String() }, { oneOf: [{ required: ['r'] }, { required: ['w'] }] })
  )
  t.strictSame(check({ kind: 'c', r: 5 }, []).value, { kind: 'c', r: 5 })
  t.equal(check({ kind: 'c' }, []).issues?.at(-1)?.type, 'value_error.oneOf')
})
