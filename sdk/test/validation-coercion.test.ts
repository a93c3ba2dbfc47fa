import t, { type Test } from 'tap'
import { Type } from 'typebox'
import { compileSchema } from '../validation/index.ts'

type Row = [given: unknown, wanted: unknown]

/** Replays rows through one schema; `refused` is the one issue that a value may also get. */
function replay(t: Test, schema: object, rows: Row[], refused: [unknown[], string]): void {
  const check = compileSchema(schema)
  for (const [given, wanted] of rows) {
    t.strictSame(check(given, []), { value: wanted }, JSON.stringify(given))
  }
  const [values, type] = refused
  for (const value of values) {
    t.same(
      check(value, ['x']).issues?.map((issue) => issue.type),
      [type],
      JSON.stringify(value)
    )
  }
}

t.test('a string is what Python prints', async (t) => {
  const rows: Row[] = [
    ['é', 'é'],
    [true, 'True'],
    [false, 'False'],
    [0, '0'],
    [-0, '0'],
    [-3.9, '-3.9'],
    [123456.789, '123456.789'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [1.5e-7, '1.5e-07'],
    [1e-10, '1e-10'],
    [1e300, '1e+300'],
    [1e22, '1e+22'],
    [Number.POSITIVE_INFINITY, 'inf'],
    [Number.NaN, 'nan']
  ]
  replay(t, Type.String(), rows, [[[], {}, ['a']], 'type_error.str'])
})

t.test('an integer is what int() makes of it', async (t) => {
  const rows: Row[] = [
    [3.9, 3],
    [-3.9, -3],
    [-0.5, 0],
    [true, 1],
    [' +3\u00a0', 3],
    ['1_000', 1000],
    ['007', 7],
    ['-0', 0],
    ['٣', 3],
    ['𝟙𝟚', 12],
    ['12345678901234567890', 12345678901234567000]
  ]
  const refused = ['', ' ', '3.9', '1e3', '0x10', '_1', '1_', '1__0', '\ufeff3', '3\u200b', 'inf']
  const others = [[], {}, Number.NaN, Number.POSITIVE_INFINITY, '1'.repeat(5000)]
  replay(t, Type.Integer(), rows, [[...refused, ...others], 'type_error.integer'])
})

t.test('a number is what float() makes of it', async (t) => {
  const rows: Row[] = [
    [3, 3],
    [false, 0],
    [' 3.9\t', 3.9],
    ['.5', 0.5],
    ['1.', 1],
    ['1_0.5e1_0', 10.5e10],
    ['٣', 3],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    [' nan ', Number.NaN]
  ]
  replay(t, Type.Number(), rows, [['', 'x', '1e', '.', '0x10', [], {}], 'type_error.float'])
})

t.test('a boolean is 0, 1 or a word for it', async (t) => {
  const rows: Row[] = [
    ...[true, 1, '1', 'ON', 't', 'True', 'y', 'yeS'].map((given): Row => [given, true]),
    ...[false, 0, '0', 'off', 'F', 'false', 'N', 'no'].map((given): Row => [given, false])
  ]
  replay(t, Type.Boolean(), rows, [[2, -1, '', ' true', 'maybe', [], {}], 'type_error.bool'])
})

t.test('an object may come as an empty text, an empty list or pairs', async (t) => {
  const rows: Row[] = [
    [{ a: 1 }, { a: 1 }],
    ['', {}],
    [[], {}],
    [
      [
        ['k', 1],
        [2, 3]
      ],
      { 2: 3, k: 1 }
    ]
  ]
  const schema = Type.Record(Type.String(), Type.Unknown())
  replay(t, schema, rows, [[1, true, ' ', 'ab', [1], [['k']], [[[], 1]]], 'type_error.dict'])
})

t.test('a list is a list only', async (t) => {
  const schema = Type.Array(Type.Integer())
  replay(
    t,
    schema,
    [
      [
        ['1', 2.5],
        [1, 2]
      ]
    ],
    [['', {}, 1, '[]'], 'type_error.list']
  )
})

t.test('null needs a type or a default that has it', async (t) => {
  const nullable = [
    Type.Union([Type.Integer(), Type.Null()]),
    { type: ['integer', 'null'] },
    { type: 'integer', nullable: true },
    { type: 'integer', default: null }
  ]
  for (const schema of nullable) {
    const check = compileSchema(Type.Object({ a: Type.Unsafe(schema) }))
    t.strictSame(check({ a: null }, []), { value: { a: null } }, JSON.stringify(schema))
    t.strictSame(check({ a: '7' }, []), { value: { a: 7 } })
    t.equal(check({ a: 'x' }, []).issues?.[0]?.type, 'type_error.integer')
  }
  const check = compileSchema(Type.Object({ a: Type.Integer({ default: 1 }) }))
  t.strictSame(check({ a: null }, ['body']), {
    issues: [
      {
        loc: ['body', 'a'],
        msg: 'none is not an allowed value',
        type: 'type_error.none.not_allowed'
      }
    ]
  })
})

t.test('of several types a value keeps its own, else takes the first that fits', async (t) => {
  const check = compileSchema({ type: ['integer', 'string'] })
  t.strictSame(check('7', []), { value: '7' })
  t.strictSame(check(2.5, []), { value: 2 })
  t.same(
    check([], []).issues?.map((issue) => issue.type),
    ['type_error.integer', 'type_error.str']
  )
})
