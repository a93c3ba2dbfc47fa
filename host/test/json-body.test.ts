import t from 'tap'
import { parseJsonBody } from '../http/json-body.ts'

const bytes = (text: string) => Buffer.from(text)

t.test('every encoding that Python detects is read', async (t) => {
  const text = '{"é":"😀"}'
  const wanted = { value: { é: '😀' } }
  const utf16le = Buffer.from(text, 'utf16le')
  const utf16be = Buffer.from(utf16le).swap16()
  const points = Array.from(text, (char) => char.codePointAt(0)!)
  const utf32le = Buffer.from(Uint32Array.from(points).buffer)
  const utf32be = Buffer.from(utf32le).swap32()
  const rows: Record<string, Buffer> = {
    'utf-8': bytes(text),
    'utf-8 with mark': bytes(`\ufeff${text}`),
    'utf-16-le': utf16le,
    'utf-16-le with mark': Buffer.concat([Buffer.from([0xff, 0xfe]), utf16le]),
    'utf-16-be': utf16be,
    'utf-16-be with mark': Buffer.concat([Buffer.from([0xfe, 0xff]), utf16be]),
    'utf-32-le': utf32le,
    'utf-32-le with mark': Buffer.concat([Buffer.from([0xff, 0xfe, 0, 0]), utf32le]),
    'utf-32-be': utf32be,
    'utf-32-be with mark': Buffer.concat([Buffer.from([0, 0, 0xfe, 0xff]), utf32be])
  }
  for (const [name, body] of Object.entries(rows)) {
    t.strictSame(parseJsonBody(body), wanted, name)
    const shifted = Buffer.concat([bytes('x'), body])
    t.strictSame(parseJsonBody(shifted.subarray(1)), wanted, `${name}, a part of a buffer`)
  }
  t.strictSame(parseJsonBody(Buffer.from('3100', 'hex')), { value: 1 }, 'two bytes')
})

t.test('bytes that are no text are undecodable', async (t) => {
  for (const hex of [
    'ff',
    '22c328',
    '7b00220058',
    '5b0000005d0000',
    '00000000ffffffff',
    'eda080'
  ]) {
    t.strictSame(parseJsonBody(Buffer.from(hex, 'hex')), { undecodable: true }, hex)
  }
})

t.test('a fault is placed and named as by Python', async (t) => {
  const rows: [text: string, why: string, pos: number][] = [
    [' ', 'Expecting value', 1],
    ['nul', 'Expecting value', 0],
    ['-', 'Expecting value', 0],
    ['[1,]', 'Expecting value', 3],
    ['{"a":', 'Expecting value', 5],
    ['{a:1}', 'Expecting property name enclosed in double quotes', 1],
    ['{"a":1,}', 'Expecting property name enclosed in double quotes', 7],
    ['{"a" 1}', "Expecting ':' delimiter", 5],
    ['[1,2', "Expecting ',' delimiter", 4],
    ['{"a":01}', "Expecting ',' delimiter", 6],
    ['[1.]', "Expecting ',' delimiter", 2],
    ['{}x', 'Extra data', 2],
    ['\ufeff\ufeff1', 'Expecting value', 0],
    ['["abc', 'Unterminated string starting at', 1],
    ['["a\\', 'Unterminated string starting at', 1],
    ['["a\tb"]', 'Invalid control character at', 3],
    ['["\\x"]', 'Invalid \\escape', 2],
    ['["\\u12g4"]', 'Invalid \\uXXXX escape', 3],
    ['"\\u0041', 'Invalid \\uXXXX escape', 2]
  ]
  for (const [text, why, pos] of rows) {
    const issue = parseJsonBody(bytes(text)).issues?.[0]
    t.strictSame([issue?.ctx?.msg, issue?.loc], [why, ['body', pos]], JSON.stringify(text))
  }
})

t.test('an issue tells line, column and text as Python counts them', async (t) => {
  const text = '{\n"😀é": "😀" x}'
  t.strictSame(parseJsonBody(bytes(text)), {
    issues: [
      {
        loc: ['body', 12],
        msg: "Expecting ',' delimiter: line 2 column 11 (char 12)",
        type: 'value_error.jsondecode',
        ctx: { msg: "Expecting ',' delimiter", doc: text, pos: 12, lineno: 2, colno: 11 }
      }
    ]
  })
})

t.test('of a long text an issue repeats 1,000 characters', async (t) => {
  const issue = parseJsonBody(bytes(`"${'😀'.repeat(5000)}`)).issues?.[0]
  t.equal(issue?.ctx?.doc, `"${'😀'.repeat(999)}`)
  t.strictSame(parseJsonBody(bytes(`[${'1,'.repeat(5000)}]`)).issues?.[0]?.loc, ['body', 10_001])
})

t.test('what only Python takes is taken', async (t) => {
  const { value } = parseJsonBody(
    bytes('{"a":[NaN, Infinity,-Infinity, -1.5e2], "b":"\\u00e9\\n"}')
  )
  const { NaN: nan, POSITIVE_INFINITY, NEGATIVE_INFINITY } = Number
  t.strictSame(value, { a: [nan, POSITIVE_INFINITY, NEGATIVE_INFINITY, -150], b: 'é\n' })
})

t.test('a key named __proto__ is an own property', async (t) => {
  for (const other of ['1', 'NaN']) {
    const { value } = parseJsonBody(bytes(`{"__proto__":{"polluted":${other}},"a":1,"a":2}`))
    t.strictSame(Object.keys(value as object), ['__proto__', 'a'], other)
    t.equal(Object.getPrototypeOf(value), Object.prototype)
    t.equal((value as { a: number }).a, 2, 'the last of two keys wins')
  }
})

t.test('deep nesting is refused, whichever parser meets it', async (t) => {
  const open = '['.repeat(100_000)
  for (const text of [open, `${open}${']'.repeat(100_000)}`, '{"a":'.repeat(100_000)]) {
    t.strictSame(parseJsonBody(bytes(text)), { undecodable: true })
  }
  const levels = (n: number, core: string) => bytes('['.repeat(n) + core + ']'.repeat(n))
  for (const core of ['1', 'NaN']) {
    t.notOk(parseJsonBody(levels(1000, core)).undecodable, `1,000 levels of ${core}`)
    t.ok(parseJsonBody(levels(1001, core)).undecodable, `1,001 levels of ${core}`)
  }
  const brackets = JSON.stringify(['\\"[{'.repeat(3000), '[', '\\'])
  t.ok(parseJsonBody(bytes(brackets)).value, 'brackets in a string are no nesting')
})
