import t from 'tap'
import { DeclaredConfig } from '../registry/declared-config.ts'

const schema = {
  type: 'object',
  required: ['MODEL_URL'],
  properties: {
    MODEL_URL: { type: 'string' },
    MODEL_SIZE: { type: 'integer', minimum: 1, default: 5 },
    MODEL_LABELS: { type: 'array', items: { type: 'string' } },
    API_TOKEN: { type: 'string' },
    PIN: { type: 'string', writeOnly: true },
    PHRASE: { type: 'string', format: 'password' }
  }
}

t.test("values: the file's, then the environment's, then the default", async (t) => {
  const config = new DeclaredConfig(schema)
  t.strictSame(config.read({ MODEL_URL: 'file' }, { MODEL_URL: 'environment', HOME: '/root' }), {
    MODEL_URL: 'file',
    MODEL_SIZE: 5
  })
  t.strictSame(
    config.read({}, { MODEL_URL: 'environment', MODEL_SIZE: '7', MODEL_LABELS: 'a, b' }),
    { MODEL_URL: 'environment', MODEL_SIZE: 7, MODEL_LABELS: ['a', 'b'] }
  )
})

t.test('every key that is missing or wrong is named at once', async (t) => {
  const config = new DeclaredConfig(schema)
  const read = () => config.read({ MODEL_SIZE: '0' }, { MODEL_URL: '' })
  t.throws(read, { name: 'PluginError', message: /MODEL_URL is required/ })
  t.throws(read, { message: /MODEL_SIZE: .*1/ })
})

t.test("the host's own secrets cannot be declared", async (t) => {
  const secrets = [
    'NEBULA_ADMIN_KEY',
    'NEBULA_ANYTHING',
    'REDIS_URL',
    'ARANGO_URL',
    'DEFAULT_ARANGO_USER',
    'DEFAULT_ARANGO_PASSWORD',
    'DEFAULT_ARANGO_PASSWORD_FILE'
  ]
  for (const key of secrets) {
    const declare = () => new DeclaredConfig({ type: 'object', properties: { [key]: {} } })
    t.throws(declare, { name: 'PluginError', message: new RegExp(`${key}.*host's own`) })
  }
  t.doesNotThrow(() => new DeclaredConfig({ type: 'object', properties: { MY_REDIS_URL: {} } }))
})

t.test('none declared', async (t) => {
  const config = new DeclaredConfig(null)
  t.strictSame(config.read({ ANY: 'x' }, { ANY: 'y' }), {})
  t.equal(config.has('ANY'), false)
  t.equal(config.has('constructor'), false)
})

t.test('one value, as POST /set gives it', async (t) => {
  const config = new DeclaredConfig(schema)
  t.equal(config.has('MODEL_SIZE'), true)
  t.strictSame(config.check('MODEL_SIZE', '8'), { value: 8 })
  t.strictSame(config.check('MODEL_LABELS', 'a,b'), { value: ['a', 'b'] })
  t.match(config.check('MODEL_SIZE', 'large'), { issues: [{ loc: ['body', 'MODEL_SIZE'] }] })
})

t.test('secrets are covered where the configuration is shown', async (t) => {
  const shown = new DeclaredConfig(schema).show({
    MODEL_URL: 'u',
    API_TOKEN: 'secret',
    PIN: 'secret',
    PHRASE: 'secret'
  })
  t.strictSame(shown, { MODEL_URL: 'u', API_TOKEN: '***', PIN: '***', PHRASE: '***' })
  t.strictSame(new DeclaredConfig(schema).show({ API_TOKEN: null }), { API_TOKEN: null })
})
