import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { predict } from '../support/experts.ts'
import { call, makeHome, plugin, spawnHost } from '../support/start-host.ts'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))

const talking = plugin(
  'talking',
  `async init() {
    this.log.info('ready to talk', { answer: 42 })
    this.log.debug('not heard')
  }
  async predictImage(params, context) {
    console.log('to stdout: %s', params.id)
    console.error('to stderr: %s', params.id)
    process.stdout.write('not JSON: {"\\n')
    context.log.warn('by the context', { image: params.id })
    context.log.info('a forger', { expert: 'somebody else', job_id: 'made up', level: 'fatal' })
    context.log.debug('heard only when asked for')
    return params.id
  }`
)

t.test("an expert's lines carry its name, those of a run its job", async (t) => {
  const host = await spawnHost(t, { files: { talking } })
  t.match(await host.line((line) => line.msg === 'ready to talk'), {
    level: 'info',
    expert: 'talking',
    answer: 42,
    time: /^\d{4}-\d\d-\d\dT.*Z$/
  })
  const send = () =>
    call(`${host.url}/experts/talking/predict/image`, 'POST', {
      image_id: 'Images/7',
      url: 'http://nowhere.invalid/'
    })
  await send()
  const [job] = (await call(`${host.url}/jobs`, 'GET')).json.jobs
  t.type(job.jobId, 'string')
  t.match(await host.line((line) => line.msg === 'by the context'), {
    level: 'warn',
    expert: 'talking',
    image: 'Images/7',
    job_id: job.jobId
  })
  t.match(await host.line((line) => line.msg === 'a forger'), {
    level: 'info',
    expert: 'talking',
    job_id: job.jobId
  })
  t.match(await host.line((line) => line.msg === 'to stdout: Images/7'), {
    level: 'info',
    expert: 'talking',
    stream: 'stdout'
  })
  t.match(await host.line((line) => line.msg === 'to stderr: Images/7'), {
    level: 'warn',
    expert: 'talking',
    stream: 'stderr'
  })
  await host.line((line) => line.msg === 'not JSON: {"')
  t.notOk(host.lines.some((line) => line.msg === 'not heard'))

  const level = await call(`${host.url}/experts/talking/log-level`, 'POST', { level: 'debug' })
  t.equal(level.status, 200, level.text)
  await send()
  await host.line((line) => line.msg === 'heard only when asked for')
})

t.test('every line on stdout is one JSON object, from the first to the last', async (t) => {
  const home = await makeHome(t, {
    files: { talking, broken: plugin('broken', 'async predict( { return 1 }') }
  })
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, PORT: '0', HOST: '127.0.0.1' }
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    cwd: home,
    env,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  let errors = ''
  child.stderr.on('data', (chunk) => (errors += chunk))
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk) => {
      out += chunk
      if (out.includes('first round')) resolve()
    })
  })
  const { url } = out
    .split('\n')
    .filter((line) => line.includes('"url"'))
    .map((line) => JSON.parse(line))[0]
  await predict(url, 'talking', 'Movies/1')
  await predict(url, 'broken', 'Movies/1')
  child.kill('SIGTERM')
  const [code] = await once(child, 'close')
  t.equal(code, 0)
  t.equal(errors, '', 'nothing on stderr')
  const lines = out.trimEnd().split('\n')
  t.ok(lines.length > 5)
  for (const line of lines) {
    t.match(JSON.parse(line), { level: /^(info|warn|error)$/, time: String, msg: String })
  }
  t.ok(out.endsWith('\n'), 'the last line is whole')
  const broken = lines.map((line) => JSON.parse(line)).find((line) => line.level === 'error')
  t.match(broken, { expert: 'broken', msg: /cannot be started/, err: { message: /index\.js:4/ } })
})
