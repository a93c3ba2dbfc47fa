import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { versioned } from '../support/packages.ts'
import { makeHome, plugin } from '../support/start-host.ts'

const BIN = fileURLToPath(new URL('../../host/bin/nebula-experts.js', import.meta.url))

function doctor(cwd: string, ...words: string[]) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const env = { PATH: process.env.PATH, TMPDIR: cwd }
    execFile(process.execPath, [BIN, 'doctor', ...words], { cwd, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

const answers = 'async predict() { return 1 }'

t.test('doctor says what an author can act on', async (t) => {
  const home = await makeHome(t, {
    files: {
      good: versioned(
        'good',
        '1.2.3',
        `static config = { type: 'object', properties: { SIZE: { type: 'integer', default: 3 } } }
        addExpertApis(api) { api.post('/guess', {}, () => 1) }
        ${answers}`
      ),
      syntax: plugin('syntax', 'async predict( { return 1 }'),
      init: plugin('init', `async init() { throw new Error('no model here') }\n${answers}`),
      schema: plugin(
        'schema',
        `static params = { type: 'object', properties: { a: { type: 'word' } } }\n${answers}`
      ),
      dependency: plugin('dependency', answers, "import 'not-installed'"),
      manifest: { 'package.json': '{ "name": ' },
      empty: { 'readme.txt': 'no package' }
    }
  })
  const good = await doctor(home, 'plugins/good')
  t.match(good, { code: 0, stderr: '' })
  t.match(good.stdout, /^good 1\.2\.3 starts: ready after \d+ ms, \d+ MB of memory\n/)
  t.match(good.stdout, /^configuration: SIZE=3$/m)
  t.match(good.stdout, /^routes of its own: POST \/guess$/m)
  t.match(good.stdout, /POST \/guess has no "body" schema/)

  const reasons: Record<string, RegExp> = {
    syntax: /^syntax cannot be served: .*Unexpected number.*index\.js:4/s,
    init: /^init cannot be served: .*no model here/s,
    schema: /^schema cannot be served: .*static params.*'word'/s,
    dependency: /^dependency cannot be served: .*npm install not-installed/s,
    manifest: /^manifest cannot be served: package\.json.*JSON/s,
    empty: /^empty cannot be served: .*package\.json/s,
    nowhere: /^There is no package in .*\/nowhere: wanted a folder with a package\.json\n$/
  }
  const results = await Promise.all(
    Object.entries(reasons).map(async ([name, reason]) => {
      return { name, reason, found: await doctor(home, `./plugins/${name}`) }
    })
  )
  for (const { name, reason, found } of results) {
    t.match(found, { code: 1, stdout: '', stderr: reason }, name)
    t.notMatch(found.stderr, /\n\s+at /, 'no stack of the host')
  }
  t.match(await doctor(home), { code: 64, stderr: /^doctor wants the folder of a package\n/ })
  t.strictSame((await readdir(home)).sort(), ['experts.config.json', 'plugins'], 'nothing is left')
})

t.test('doctor --chaos kills, hangs and floods it', async (t) => {
  const home = await makeHome(t, { files: { sturdy: versioned('sturdy', '1') } })
  const { code, stdout, stderr } = await doctor(home, '--chaos', 'plugins/sturdy')
  t.equal(stderr, '')
  t.match(stdout, /^killed 5 times: served again 5 times, after [\d, ]+ ms$/m)
  t.match(stdout, /^segfault 5 times: served again 5 times, after [\d, ]+ ms$/m)
  t.match(stdout, /^stopped so that it hangs: noticed and served again, after \d+ ms$/m)
  t.match(stdout, /^flooded with 2000 calls at once: \d+ × 200/m)
  t.match(stdout, /^in the end it is ACTIVE$/m)
  t.equal(code, 0)
})
