import { symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { expertOf, listExperts, predict, untilTrue } from '../support/experts.ts'
import { call, plugin, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

/** Files of a plugin whose manifest or entry is not the usual one. */
function odd(manifest: Record<string, unknown>, files: Record<string, string>) {
  const usual = {
    version: '1.0.0',
    type: 'module',
    keywords: ['nebula-expert'],
    exports: './index.js'
  }
  return { 'package.json': JSON.stringify({ ...usual, ...manifest }), ...files }
}

const answers = 'async predict(params) { return { result: params.movie_id, error: null } }'
const expertModule = plugin('any', answers)['index.js'] as string

interface BadPlugin {
  files: Record<string, string>
  /** What must stand in the reason. */
  reason: RegExp[]
  /** The name it is shown under; default: the folder's. */
  shownAs?: string
  /** Default: FAILED. */
  status?: string
}

const route = (declaration: string) => `addExpertApis(api) { ${declaration} }\n${answers}`

const badPlugins: Record<string, BadPlugin> = {
  'no-default-export': {
    files: odd({ name: 'no-default-export' }, { 'index.js': 'export const expert = 1\n' }),
    reason: [/extends BaseExpert/, /no default export/]
  },
  'no-expert': {
    files: odd({ name: 'no-expert' }, { 'index.js': 'export default class {}\n' }),
    reason: [/extends BaseExpert/]
  },
  'syntax-error': {
    files: plugin('syntax-error', 'async predict( { return 1 }'),
    reason: [/Unexpected number/, /index\.js:4/]
  },
  'syntax-error-inside': {
    files: {
      ...plugin('syntax-error-inside', answers, "import './lib/inner.js'"),
      'lib/inner.js': '\n\nconst = 3\n'
    },
    reason: [/Unexpected token '='/, /lib\/inner\.js:3/]
  },
  'missing-export': {
    files: plugin('missing-export', answers, "import { Nothing } from '@nebula-experts/sdk'"),
    reason: [/Nothing/, /index\.js:2/]
  },
  'throwing-constructor': {
    files: plugin('throwing-constructor', "constructor() { super(); throw new Error('no luck') }"),
    reason: [/no luck/, /index\.js:4/]
  },
  'throwing-import': {
    files: plugin('throwing-import', answers, "throw new Error('at the top')"),
    reason: [/at the top/, /index\.js:2/]
  },
  'exiting-import': {
    files: plugin('exiting-import', answers, 'process.exit(3)'),
    reason: [/exited with code 3/]
  },
  'missing-dependency': {
    files: plugin('missing-dependency', answers, "import 'some-package-that-is-not-here'"),
    reason: [/'some-package-that-is-not-here'/, /npm install some-package-that-is-not-here/]
  },
  'missing-scoped': {
    files: plugin('missing-scoped', answers, "import '@some/package-not-here/deep/file.js'"),
    reason: [/npm install @some\/package-not-here"/]
  },
  'missing-required': {
    files: odd(
      { name: 'missing-required', type: 'commonjs' },
      { 'index.js': "require('some-package-that-is-not-here')" }
    ),
    reason: [/npm install some-package-that-is-not-here"/]
  },
  'missing-file': {
    files: plugin('missing-file', answers, "import './gone.js'"),
    reason: [/\.\/gone\.js/]
  },
  'taken-too': { files: plugin('taken', answers), shownAs: 'taken', reason: [/taken by .*taken$/] },
  'illegal-name': {
    files: odd({ name: 'x', nebula: { expert: 'no/slash' } }, { 'index.js': expertModule }),
    reason: [/"no\/slash" is no legal name/, /letters, digits/]
  },
  insistent: {
    files: plugin('insistent', `getName() { return 'another' }\n${answers}`),
    reason: [/'another'/, /'insistent'/, /"nebula"/]
  },
  'shadowing-route': {
    files: plugin('shadowing-route', route("api.get('/status', {}, () => 1)")),
    reason: [/GET \/status/, /shadows/]
  },
  'shadowing-parameter': {
    files: plugin('shadowing-parameter', route("api.post('/:anything', {}, () => 1)")),
    reason: [/POST \/:anything/, /shadows/]
  },
  'doubled-route': {
    files: plugin(
      'doubled-route',
      route("api.get('/x/:a', {}, () => 1); api.get('/x/:b', {}, () => 2)")
    ),
    reason: [/GET \/x\/:b/, /twice/, /GET \/x\/:a/]
  },
  'route-without-slash': {
    files: plugin('route-without-slash', route("api.get('x', {}, () => 1)")),
    reason: [/must start with '\/'/, /index\.js:4/]
  },
  'route-without-handler': {
    files: plugin('route-without-handler', route("api.get('/x', {})")),
    reason: [/GET \/x/, /handler/]
  },
  'pattern-in-route': {
    files: plugin('pattern-in-route', route("api.get('/x/:id((a+)+$)', {}, () => 1)")),
    reason: [/GET \/x\/:id\(\(a\+\)\+\$\)/]
  },
  'wildcard-in-route': {
    files: plugin('wildcard-in-route', route("api.get('/x/*', {}, () => 1)")),
    reason: [/GET \/x\/\*/]
  },
  'look-ahead': {
    files: plugin(
      'look-ahead',
      `static params = { type: 'object', properties: { word: { type: 'string', pattern: '^(?=a)a' } } }\n${answers}`
    ),
    reason: [/static params/, /\/properties\/word\/pattern/, /RE2/]
  },
  'schema-with-code': {
    files: plugin(
      'schema-with-code',
      `static params = { type: 'object', properties: { word: { type: 'word' } } }\n${answers}`
    ),
    reason: [/static params/, /'word'/]
  },
  'wants-a-secret': {
    files: plugin(
      'wants-a-secret',
      `static config = { type: 'object', properties: { NEBULA_ADMIN_KEY: { type: 'string' } } }\n${answers}`
    ),
    reason: [/NEBULA_ADMIN_KEY/, /host's own/]
  },
  'config-missing': {
    files: plugin(
      'config-missing',
      `static config = { type: 'object', required: ['MODEL_URL'], properties: { MODEL_URL: { type: 'string' } } }\n${answers}`
    ),
    reason: [/MODEL_URL/, /required/]
  },
  'config-wrong': {
    files: plugin(
      'config-wrong',
      `static config = { type: 'object', properties: { MODEL_SIZE: { type: 'integer' }, MODEL_SHARE: { type: 'number', maximum: 1 } } }\n${answers}`
    ),
    reason: [/MODEL_SIZE: .*integer/, /MODEL_SHARE/]
  },
  'entry-missing': {
    files: odd({ name: 'entry-missing', exports: './dist/index.js' }, {}),
    reason: [/\.\/dist\/index\.js/, /not there/]
  },
  'entry-outside': {
    files: odd({ name: 'entry-outside', exports: '../good/index.js' }, {}),
    reason: [/\.\.\/good\/index\.js/, /outside/]
  },
  'no-entry': {
    files: odd({ name: 'no-entry', exports: { './deep': './deep.js' } }, { 'deep.js': '' }),
    reason: [/"exports"/]
  },
  'broken-manifest': {
    files: { 'package.json': '{ "name": "broken-manifest", ', 'index.js': expertModule },
    reason: [/package\.json/, /JSON/]
  },
  'unknown-keys': {
    files: odd(
      { name: 'unknown-keys', nebula: { instances: 0, threads: 4, env: {} } },
      { 'index.js': expertModule }
    ),
    reason: [/nebula\/instances/, /threads/, /env/]
  },
  'link-out': {
    files: plugin('link-out', answers),
    reason: [/weights\.bin/, /link out of the package/]
  },
  typescript: {
    files: odd({ name: 'typescript', exports: './index.ts' }, { 'index.ts': expertModule }),
    reason: [/index\.ts/, /TypeScript/, /build/]
  },
  'commonjs-default': {
    files: odd(
      { name: 'commonjs-default', type: 'commonjs' },
      { 'index.js': 'exports.default = class {}\n' }
    ),
    reason: [/extends BaseExpert/, /CommonJS/]
  },
  'throwing-init': {
    files: plugin(
      'throwing-init',
      `async init() {\n    throw new Error('no model here')\n  }\n${answers}`
    ),
    reason: [/no model here/, /index\.js:5/],
    status: 'QUARANTINED'
  },
  'throwing-text': {
    files: plugin('throwing-text', `async init() { throw 'nothing but text' }\n${answers}`),
    reason: [/nothing but text/],
    status: 'QUARANTINED'
  }
}

t.test('each bad plugin is shown with its reason, the good one serves', async (t) => {
  const { url } = await startHost(t, {
    files: {
      good: plugin('good', answers),
      taken: plugin('taken', answers),
      ...Object.fromEntries(
        Object.entries(badPlugins).map(([folder, { files }]) => [folder, files])
      )
    },
    config: {
      experts: {
        'throwing-init': { quarantine: { failures: 1 } },
        'throwing-text': { quarantine: { failures: 1 } },
        'not-there-yet': { required: true }
      }
    },
    env: { MODEL_SIZE: 'large', MODEL_SHARE: '1.5', NEBULA_ADMIN_KEY: 'the key of the house' },
    prepare: async (home) => {
      await writeFile(join(home, 'secret.bin'), 'not yours')
      await symlink(join(home, 'secret.bin'), join(home, 'plugins', 'link-out', 'weights.bin'))
    }
  })
  const rows = await listExperts(url)
  for (const [folder, bad] of Object.entries(badPlugins)) {
    await t.test(folder, async (t) => {
      const name = bad.shownAs ?? folder
      const row = rows.filter((expert) => expert.name === name).at(-1)
      if (row === undefined) throw new Error('/experts does not show it')
      t.equal(row.status, bad.status ?? 'FAILED')
      for (const words of bad.reason) t.match(row.reason, words)
      t.notMatch(row.reason, /serving\//, 'no path of the private copy')
      t.strictSame(row.instances, [], 'no process is left of it')
      if (bad.shownAs !== undefined) return
      const { status, headers, json } = await predict(url, name, 'Movies/1')
      t.equal(status, 503)
      t.equal(json.code, 'HOST_EXPERT_NOT_READY')
      t.ok(json.detail.includes(row.reason), json.detail)
      t.equal(headers.get('retry-after'), '1')
    })
  }
  const waiting = await predict(url, 'not-there-yet', 'Movies/1')
  t.equal(waiting.status, 404)
  t.match(waiting.json, { code: 'HOST_EXPERT_ABSENT', detail: /'not-there-yet'.*not there yet/ })
  const unknown = await predict(url, 'never-heard-of', 'Movies/1')
  t.match(unknown, { status: 404, json: { code: 'HOST_EXPERT_UNKNOWN' } })
  const ready = await call(`${url}/health/ready`, 'GET')
  t.equal(ready.status, 503, 'a required expert that waits keeps the host from being ready')
  t.match(ready.json.reasons, [/not-there-yet/])

  for (const name of ['good', 'taken']) {
    const { status, json } = await predict(url, name, 'Movies/7')
    t.strictSame([status, json], [200, { result: 'Movies/7', error: null }], `${name} serves`)
  }
})

t.test('odd but right plugins are served', async (t) => {
  const { url } = await startHost(t, {
    files: {
      commonjs: odd(
        { name: 'commonjs', type: 'commonjs' },
        {
          'index.js':
            "const { BaseExpert } = require('@nebula-experts/sdk')\nmodule.exports = class extends BaseExpert { async predict() { return 'common' } }\n"
        }
      ),
      'main-field': {
        'package.json': JSON.stringify({
          name: '@scope/expert-by-main',
          type: 'module',
          keywords: ['nebula-expert'],
          main: 'lib/index.js'
        }),
        'lib/index.js': expertModule
      },
      patterns: plugin(
        'patterns',
        `static params = { type: 'object', properties: { word: { type: 'string', pattern: '^(a+)+$' } } }\n${answers}`
      ),
      'link-inside': plugin('link-inside', answers),
      'some-library': {
        'package.json': JSON.stringify({ name: 'some-library', type: 'module' }),
        'index.js': ''
      }
    },
    prepare: (home) => symlink('.', join(home, 'plugins', 'link-inside', 'loop'))
  })
  const names = (await listExperts(url)).map((expert) => `${expert.name} ${expert.status}`).sort()
  t.strictSame(
    names,
    ['by-main ACTIVE', 'commonjs ACTIVE', 'link-inside ACTIVE', 'patterns ACTIVE'],
    'what is no plugin is passed over'
  )
  t.equal((await predict(url, 'commonjs', 'Movies/1')).text, '"common"')

  const word = 'a'.repeat(50_000)
  t.equal((await predict(url, 'patterns', 'Movies/1', { word })).status, 200)
  const before = performance.now()
  const refused = await predict(url, 'patterns', 'Movies/1', { word: `${word}!` })
  const took = performance.now() - before
  t.equal(refused.status, 422)
  t.strictSame(refused.json.detail[0].loc, ['body', 'extra_params', 'word'])
  // A backtracking engine does not come back within the life of the universe.
  t.ok(took < 2000, `answered in ${took.toFixed(0)} ms`)
})

t.test('an init that never ends is cut off', async (t) => {
  const { url, host } = await startHost(t, {
    files: {
      good: plugin('good', answers),
      'endless-init': plugin(
        'endless-init',
        `async init(context) { context.progress(0.5, 'half'); await new Promise(() => {}) }\n${answers}`
      ),
      'spinning-init': plugin('spinning-init', `async init() { for (;;); }\n${answers}`),
      'endless-import': plugin('endless-import', answers, 'await new Promise(() => {})')
    },
    config: {
      experts: Object.fromEntries(
        ['endless-init', 'spinning-init', 'endless-import'].map((name) => [
          name,
          { start_timeout_ms: 4000, quarantine: { failures: 1 } }
        ])
      )
    }
  })
  for (const name of ['endless-init', 'spinning-init', 'endless-import']) {
    const row = await expertOf(url, name)
    t.match(row.status, /^(FAILED|QUARANTINED)$/, name)
    t.match(row.reason, /did not start within 4000 ms/, name)
    t.equal((await predict(url, name, 'Movies/1')).status, 503, name)
  }
  t.equal((await predict(url, 'good', 'Movies/1')).status, 200)
  await host.stop()
})

t.test('while an init runs, its progress shows and its callers are told', async (t) => {
  const { url } = await startHost(t, {
    files: {
      slow: plugin(
        'slow',
        `async init(context) {
          context.progress(0.25, 'fetching weights')
          await new Promise((resolve) => setTimeout(resolve, 1500))
        }
        ${answers}`
      )
    },
    awaitStart: false
  })
  const row = await until('progress of init', async () => {
    const found = await expertOf(url, 'slow')
    return found.progress === null ? undefined : found
  })
  t.match(row, { status: 'STARTING', progress: { fraction: 0.25, note: 'fetching weights' } })
  t.match(await predict(url, 'slow', 'Movies/1'), {
    status: 503,
    json: { code: 'HOST_EXPERT_NOT_READY', detail: /first start/ }
  })
  t.strictSame((await call(`${url}/experts/slow/status`, 'GET')).json, { status: 'STARTING' })
  t.equal((await call(`${url}/health/ready`, 'GET')).status, 503)
  await untilTrue('the start to end', async () => (await expertOf(url, 'slow')).status === 'ACTIVE')
  t.equal((await expertOf(url, 'slow')).progress, null)
  t.equal((await predict(url, 'slow', 'Movies/1')).status, 200)
  t.equal((await call(`${url}/health/ready`, 'GET')).status, 200)
})
