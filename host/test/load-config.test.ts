import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ConfigError, loadConfig } from '../config/load-config.ts'

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url))

function home(t: Test, config: unknown): string {
  const text = typeof config === 'string' ? config : JSON.stringify(config)
  return t.testdir({ 'experts.config.json': text, elsewhere: { 'my.json': text } })
}

function problemsOf(env: NodeJS.ProcessEnv, cwd: string): string[] {
  try {
    loadConfig(env, cwd)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

t.test('defaults', async (t) => {
  const folder = home(t, {})
  t.match(loadConfig({}, folder), {
    configPath: join(folder, 'experts.config.json'),
    pluginDirs: [join(folder, 'plugins')],
    selected: null,
    baseDir: folder,
    defaultExpert: null,
    experts: {},
    dataDir: join(folder, 'data'),
    port: 8000,
    host: '0.0.0.0',
    logLevel: 'info',
    adminKey: null,
    threadPoolSize: 1,
    maxWaitMs: 600_000,
    jobsExpirationMs: 600_000,
    runPipeline: false
  })
})

t.test('file and environment', async (t) => {
  const folder = home(t, {
    plugins_dir: ['./one', '/two'],
    experts: { signs: { package: './my-signs', concurrency: 2 }, ocr: { package: '@scope/ocr' } }
  })
  const config = loadConfig(
    {
      NEBULA_CONFIG: 'elsewhere/my.json',
      NEBULA_DATA_DIR: 'my-data',
      EXPERT_PLUGINS: 'ocr, ./signs',
      EXPERT_THREAD_POOL_SIZE: '3',
      MAX_WAIT_PREDICT_TIME: '2',
      JOBS_EXPIRATION: '60',
      PORT: '0',
      LOG_LEVEL: 'debug',
      FFMPEG_PATH: 'bin/ffmpeg',
      WEB_SERVER: 'http://files.lan'
    },
    folder
  )
  t.match(config, {
    pluginDirs: [join(folder, 'elsewhere', 'one'), '/two'],
    baseDir: join(folder, 'elsewhere'),
    selected: ['ocr', './signs'],
    experts: {
      signs: { package: join(folder, 'elsewhere', 'my-signs'), concurrency: 2 },
      ocr: { package: '@scope/ocr' }
    },
    threadPoolSize: 3,
    maxWaitMs: 2000,
    jobsExpirationMs: 60_000,
    port: 0,
    logLevel: 'debug',
    media: {
      ffmpeg: join(folder, 'bin/ffmpeg'),
      ffprobe: null,
      webServer: 'http://files.lan',
      folder: join(folder, 'my-data', 'media')
    }
  })
  t.equal(
    config.dataDir,
    join(folder, 'my-data'),
    'a relative variable is relative to where one is'
  )
})

const wrong = {
  plugin_dir: './plugins',
  plugins_dir: 7,
  experts: {
    ocr: { instances: 0, treads: 2, env: { SIZE: 3 } },
    signs: { quarantine: { failures: 'many' }, runtime: 'thread' }
  }
}
const wrongEnv = { PORT: 'http', LOG_LEVEL: 'loud', EXPERT_RUN_PIPELINE: 'perhaps' }
const wanted = [
  /: \/ .*plugin_dir/,
  /: \/plugins_dir /,
  /: \/experts\/ocr\/instances .*>= 1/,
  /: \/experts\/ocr .*treads/,
  /: \/experts\/ocr\/env\/SIZE .*string/,
  /: \/experts\/signs\/quarantine\/failures .*integer/,
  /: \/experts\/signs\/runtime /,
  /^PORT='http': wanted a whole number 0 to 65535$/,
  /^LOG_LEVEL='loud': wanted one of .*info/,
  /^EXPERT_RUN_PIPELINE='perhaps': wanted true, false/
]

t.test('the address of a Redis is checked, and a wrong one is not shown', async (t) => {
  const folder = home(t, {})
  t.equal(loadConfig({}, folder).redisUrl, null)
  for (const url of ['redis://host', 'rediss://user:p%40ss@host:6380/3', 'redis://[::1]:6379/0']) {
    t.equal(loadConfig({ REDIS_URL: url }, folder).redisUrl, url)
  }
  for (const url of [
    'secret',
    'http://:secret@host',
    'redis://:secret@host/name',
    'redis:secret'
  ]) {
    const problems = problemsOf({ REDIS_URL: url }, folder)
    t.match(problems, [/^REDIS_URL: wanted redis:\/\//], url)
    t.notMatch(problems.join(), 'secret')
  }
})

t.test('every wrong key and variable is named at once, with its path', async (t) => {
  const folder = home(t, wrong)
  const problems = problemsOf(wrongEnv, folder)
  for (const words of wanted) {
    t.ok(
      problems.some((line) => words.test(line)),
      `${words} in\n${problems.join('\n')}`
    )
  }
  for (const line of problems) {
    t.ok(line.startsWith(folder) || /^[A-Z_]+=/.test(line), `says where: ${line}`)
  }
})

t.test('a name that cannot stand in a URL is a wrong key', async (t) => {
  const problems = problemsOf({}, home(t, { experts: { 'no/slash': {}, ocr: {} } }))
  t.equal(problems.length, 1)
  t.match(problems[0], /\/experts .*no\/slash/)
})

t.test('a file that cannot be read, or is no JSON', async (t) => {
  const folder = home(t, '{ "experts": { } ')
  t.match(problemsOf({}, folder), [/experts\.config\.json: is not JSON/])
  t.match(problemsOf({ NEBULA_CONFIG: 'none.json', PORT: '-1' }, folder), [
    /none\.json: cannot be read \(ENOENT\), though NEBULA_CONFIG names it/,
    /^PORT='-1'/
  ])
})

t.test('the command line says all of it and exits 78', async (t) => {
  const run = (cwd: string, env: Record<string, string>, words: string[] = ['serve']) =>
    spawnSync(process.execPath, [MAIN, ...words], {
      cwd,
      env: { PATH: process.env.PATH, ...env },
      encoding: 'utf8',
      timeout: 20_000
    })
  const { status, stdout, stderr } = run(home(t, wrong), wrongEnv)
  t.equal(status, 78)
  t.equal(stdout, '', 'the log has not begun')
  t.match(stderr, /^The configuration cannot be used:\n {2}- /)
  for (const words of wanted) t.match(stderr, new RegExp(words.source.replace(/^\^/, '- '), 'm'))
  t.notMatch(stderr, /\n {4}at /, 'no stack')

  const unknown = run(home(t, {}), {}, ['dance'])
  t.equal(unknown.status, 64)
  t.match(unknown.stderr, /no command 'dance'.*\n\nUsage:/)
  const help = run(home(t, {}), {}, ['--help'])
  t.equal(help.status, 0)
  t.match(help.stdout, /^Usage:/)
})
