import t from 'tap'
import { EnvironmentReader } from '../config/environment.ts'

t.test('good values, in every spelling that is taken', async (t) => {
  const reader = new EnvironmentReader({
    WORDS: ' a, b ,,c ',
    NONE: ' , ',
    EMPTY: '  ',
    SEVEN: ' +7 ',
    YES: 'Yes',
    OFF: 'OFF',
    COLOUR: 'red'
  })
  t.strictSame(reader.list('WORDS'), ['a', 'b', 'c'])
  t.equal(reader.list('NONE'), undefined)
  t.equal(reader.text('EMPTY'), undefined)
  t.equal(reader.integer('EMPTY', 1), undefined)
  t.equal(reader.integer('UNSET', 1), undefined)
  t.equal(reader.integer('SEVEN', 7, 7), 7)
  t.equal(reader.boolean('YES'), true)
  t.equal(reader.boolean('OFF'), false)
  t.equal(reader.boolean('UNSET'), undefined)
  t.equal(reader.oneOf('COLOUR', ['red', 'blue']), 'red')
  t.strictSame(reader.bad, [])
})

t.test('every bad variable is remembered, with what was found and wanted', async (t) => {
  const numbers = ['0', '65536', '80.5', '1e3', '0x10', '-1', 'many', '9007199254740993']
  const env = Object.fromEntries(numbers.map((text, i) => [`N${i}`, text]))
  const reader = new EnvironmentReader({ ...env, FLAG: 'maybe', COLOUR: 'Red' })
  for (const name of Object.keys(env)) t.equal(reader.integer(name, 1, 65_535), undefined)
  t.equal(reader.integer('N6', 3), undefined)
  t.equal(reader.boolean('FLAG'), undefined)
  t.equal(reader.oneOf('COLOUR', ['red', 'blue']), undefined)
  t.strictSame(reader.bad, [
    ...numbers.map((found, i) => ({
      name: `N${i}`,
      found,
      wanted: 'a whole number 1 to 65535'
    })),
    { name: 'N6', found: 'many', wanted: 'a whole number of at least 3' },
    { name: 'FLAG', found: 'maybe', wanted: 'true, false, 1, 0, yes, no, on or off' },
    { name: 'COLOUR', found: 'Red', wanted: 'one of red, blue' }
  ])
})
