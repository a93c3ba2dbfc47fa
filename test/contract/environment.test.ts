import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { call, makeHome, startHost } from '../support/start-host.ts'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))

t.test('A53 EXPERT_RUN_PIPELINE is parsed in every spelling', async (t) => {
  const spellings = [
    'true',
    'false',
    'True',
    'False',
    '1',
    '0',
    'TRUE',
    'yes',
    'No',
    'on',
    'off',
    ''
  ]
  const home = await makeHome(t, { plugins: ['my-expert'] })
  const { loadConfig } = await import('@nebula-experts/host')
  for (const spelling of spellings) {
    const config = loadConfig({ EXPERT_RUN_PIPELINE: spelling }, home)
    t.equal(config.runPipeline, /^(true|1|yes|on)$/i.test(spelling), JSON.stringify(spelling))
  }
  for (const EXPERT_RUN_PIPELINE of ['true', 'False', '0']) {
    const { url } = await startHost(t, { plugins: ['my-expert'], env: { EXPERT_RUN_PIPELINE } })
    t.equal((await call(`${url}/status`, 'GET')).text, '{"status":"ACTIVE"}')
  }
})

t.test('A53 what cannot be parsed ends the host with 78, each variable named', async (t) => {
  const home = await makeHome(t, { plugins: ['my-expert'] })
  const env = {
    PATH: process.env.PATH,
    PORT: '0',
    EXPERT_RUN_PIPELINE: "__import__('os').system('true')",
    EXPERT_THREAD_POOL_SIZE: '0',
    JOBS_EXPIRATION: 'soon',
    MAX_WAIT_PREDICT_TIME: '-1',
    LOG_LEVEL: 'loud',
    NEBULA_MAX_BODY_BYTES: '1e9'
  }
  const child = spawn(process.execPath, [MAIN, 'serve'], { cwd: home, env })
  const [[code], out, err] = await Promise.all([
    once(child, 'exit'),
    text(child.stdout),
    text(child.stderr)
  ])
  t.equal(code, 78)
  t.equal(out, '', 'it never listened')
  for (const [name, found] of Object.entries(env).slice(2)) {
    const line = err.split('\n').find((each) => each.includes(`${name}=`))
    t.match(line, `'${found}'`, `${name} is named with what was found`)
    t.match(line, 'wanted')
  }
})

t.test('the configuration file is checked as a whole, too', async (t) => {
  const home = await makeHome(t, {
    config: { experts: { 'a b': {}, ok: { instances: 0, concurency: 1 } }, plugin_dir: 'x' }
  })
  const env = { PATH: process.env.PATH, PORT: '70000' }
  const child = spawn(process.execPath, [MAIN, 'serve'], { cwd: home, env })
  const [[code], err] = await Promise.all([once(child, 'exit'), text(child.stderr)])
  t.equal(code, 78)
  for (const word of ['PORT', 'a b', 'instances', 'concurency', 'plugin_dir']) t.match(err, word)
})
