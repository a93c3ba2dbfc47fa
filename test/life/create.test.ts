import { readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startCommand, startProgram } from '../support/command.ts'
import { untilTrue } from '../support/experts.ts'
import { call, makeHome, startHost } from '../support/start-host.ts'

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url))

t.test('create writes an expert that a running host serves, and whose tests pass', async (t) => {
  const home = await makeHome(t, {})
  const { url } = await startHost(t, { home })
  const made = startCommand(t, ['create', 'fresh.one'], { cwd: home })
  t.strictSame(await made.ended, { code: 0, signal: null })
  t.match(made.stdout, 'plugins/fresh.one is an expert now')
  await untilTrue('it serves', async () => {
    const { json } = await call(`${url}/experts`, 'GET')
    return json[0]?.name === 'fresh.one' && json[0].status === 'ACTIVE'
  })
  const base = `${url}/experts/fresh.one`
  const folder = join(home, 'plugins', 'fresh.one')

  const readme = await readFile(join(folder, 'README.md'), 'utf8')
  const lines = readme.split('\n').filter((line) => line.startsWith('curl '))
  t.equal(lines.length, 2)
  for (const line of lines) {
    const [, body = '', path = ''] = /--json '(.*)' localhost:8000(.*)$/.exec(line) ?? []
    const { status, json } = await call(url + path, 'POST', JSON.parse(body))
    t.equal(status, 200, line)
    t.match(json, { result: /^Hello, /, error: null })
  }
  t.match((await call(`${base}/greet`, 'POST', { name: '' })).json.detail, [
    { loc: ['body', 'name'] }
  ])
  const { json: pipeline } = await call(`${url}/pipelines`, 'POST', {
    movies: ['1'],
    plan: [{ expert: 'fresh.one', extra_params: { times: 3 } }]
  })
  await call(`${url}/pipelines/${pipeline._key}/run`, 'POST')
  await untilTrue('its pipeline succeeds', async () => {
    const { json } = await call(`${url}/pipelines/${pipeline._key}`, 'GET')
    return json.status === 'succeeded'
  })

  await symlink(MODULES, join(home, 'node_modules'))
  const env = { PATH: process.env.PATH }
  const tests = startProgram(t, process.execPath, ['--test'], { cwd: folder, env })
  t.equal((await tests.ended).code, 0, tests.stdout)
  t.match(tests.stdout, /# pass 4|pass 4/)
})

t.test('create overwrites nothing, and takes legal names alone', async (t) => {
  const home = await makeHome(t, {})
  const run = async (...words: string[]) => {
    const command = startCommand(t, ['create', ...words], { cwd: home })
    const { code } = await command.ended
    return { code, said: command.stderr }
  }
  t.equal((await run('./here')).code, 0)
  t.match(await run('./here'), { code: 1, said: /here is there already/ })
  t.match(await run('.hidden'), { code: 1, said: /'.hidden' is no name of an expert/ })
  t.match(await run('a b'), { code: 1, said: /'a b' is no name/ })
  t.match(await run(), { code: 64, said: /create wants the name/ })
  t.match(await run('a', 'b'), { code: 64, said: /create wants the name/ })
})
