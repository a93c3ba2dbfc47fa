import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCommand } from '../support/command.ts'
import { untilTrue, within } from '../support/experts.ts'
import { makePipelineHome, writePipeline } from '../support/pipeline-home.ts'
import { call, makeHome, plugin, spawnHost, startHost } from '../support/start-host.ts'

const KEY = 'the key of the house'

/** Runs a command to its end. */
async function run(
  t: Test,
  cwd: string,
  words: string[],
  env: Record<string, string> = { NEBULA_ADMIN_KEY: KEY }
) {
  const command = startCommand(t, words, { cwd, env })
  const { code, signal } = await within(command.ended, 60_000, words.join(' '))
  return { code, signal, stdout: command.stdout, stderr: command.stderr }
}

t.test('pipeline run runs a file in a host of its own', async (t) => {
  const { home, begun } = await makePipelineHome(t)
  const file = await writePipeline(home, ['ok-1', 'ok-2', 'ok-3'])
  t.strictSame(await run(t, home, ['pipeline', 'run', file]), {
    code: 0,
    signal: null,
    stdout: 'pipeline p\n  first: success (3 success)\n  second: success (3 success)\nsucceeded\n',
    stderr: ''
  })
  t.equal((await begun()).length, 6)

  const { url } = await spawnHost(t, { home })
  const { json } = await call(`${url}/pipelines/p`, 'GET')
  t.match(json, { status: 'succeeded', tasks: { first: 'success', second: 'success' } })
})

t.test('pipeline run says what failed, and ends with 70', async (t) => {
  const { home } = await makePipelineHome(t)
  const file = await writePipeline(home, ['ok-1', 'fail-2', 'throw-3'])
  const failed = await run(t, home, ['pipeline', 'run', file])
  t.equal(failed.code, 70)
  t.equal(
    failed.stdout,
    'pipeline p\n  first: fail (1 success, 2 fail)\n  second: fail (1 success, 2 skipped)\nfailed\n'
  )
  t.strictSame(failed.stderr.split('\n').sort(), [
    '',
    '  first of Movies/fail-2: it fails',
    '  first of Movies/throw-3: it broke in the middle'
  ])

  const many = await writePipeline(
    home,
    Array.from({ length: 30 }, (_, i) => `fail-${i}`),
    { _key: 'many' }
  )
  const { code, stderr } = await run(t, home, ['pipeline', 'run', many])
  t.equal(code, 70)
  const lines = stderr.trimEnd().split('\n')
  t.equal(lines.length, 21, 'not all of many')
  t.equal(lines.at(-1), '  … and more')

  const stop = { _key: 'stop', stop_on_failure: true, plan: [{ expert: 'first' }] }
  const stopped = await run(t, home, [
    'pipeline',
    'run',
    await writePipeline(home, ['fail-1', 'ok-2', 'ok-3'], stop)
  ])
  t.match(stopped, { code: 70, stdout: /^ {2}first: fail \(.*1 fail.*\)\nfailed\n$/m })
})

t.test('pipeline run --url has a running host run it', async (t) => {
  const { home, begun } = await makePipelineHome(t)
  const env = { NEBULA_ADMIN_KEY: KEY }
  const { url } = await startHost(t, { home, env })
  const elsewhere = await makeHome(t)
  const words = ['pipeline', 'run', await writePipeline(elsewhere, ['ok-1', 'ok-2']), '--url', url]
  t.match(await run(t, elsewhere, words), {
    code: 0,
    stdout: 'pipeline p\n  first: success (2 success)\n  second: success (2 success)\nsucceeded\n',
    stderr: ''
  })
  t.equal((await call(`${url}/pipelines/p`, 'GET')).json.status, 'succeeded')
  t.match(await run(t, elsewhere, words), {
    code: 1,
    stdout: '',
    stderr: /^[^\n]*\bp\b[^\n]*\n$/
  })
  t.equal((await begun()).length, 4, 'what is there is neither replaced nor run again')

  const failing = await writePipeline(elsewhere, ['fail-1'], { _key: 'q' })
  t.match(await run(t, elsewhere, ['pipeline', 'run', failing, '--url', url]), {
    code: 70,
    stderr: '  first of Movies/fail-1: it fails\n'
  })
})

t.test('pipeline run refuses what cannot be run, each problem in a line', async (t) => {
  const { home, begun } = await makePipelineHome(t)
  const { url } = await startHost(t, { home, env: { NEBULA_ADMIN_KEY: KEY } })
  const other = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await untilTrue('the other server', () => other.listening)
  const otherUrl = `http://127.0.0.1:${(other.address() as AddressInfo).port}`

  const files: Record<string, unknown> = {
    'plan.json': {
      movies: ['Movies/1'],
      plan: [
        { expert: 'first' },
        { expert: 'nobody' },
        { expert: 'second', depends_on: ['third', 'second'] },
        { expert: 'first' }
      ]
    },
    'circle.json': {
      plan: [
        { expert: 'first', depends_on: ['second'] },
        { expert: 'second', depends_on: ['first'] }
      ]
    },
    'steps.json': { plan: [{ expert: [], attempts: 0 }], stop_on_failure: 'perhaps' },
    'list.json': [1, 2],
    'text.json': 'pipeline',
    'key.json': { _key: 'a/b', movies: [], plan: [{ expert: 'first' }] },
    'good.json': { movies: ['Movies/1'], plan: [{ expert: 'first' }] }
  }
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(home, name), JSON.stringify(content))
  }
  await writeFile(join(home, 'broken.json'), '{ "movies": [')
  await writeFile(join(home, 'empty.json'), '')

  const at = ['--url', url]
  const line = (start: string) => new RegExp(`^${start}: .+$`, 'm')
  const wrong: Array<[string[], number, RegExp[], string?]> = [
    [
      ['plan.json', ...at],
      1,
      [
        line('plan\\.1\\.expert'),
        line('plan\\.2\\.depends_on\\.0'),
        line('plan\\.2\\.depends_on\\.1'),
        line('plan\\.3\\.task')
      ]
    ],
    [['circle.json', ...at], 1, [line('plan\\.\\d\\.depends_on')]],
    [
      ['steps.json', ...at],
      1,
      [line('plan\\.0\\.expert'), line('plan\\.0\\.attempts'), line('stop_on_failure')]
    ],
    [['list.json', ...at], 1, [/^\w.*\n$/]],
    [['text.json', ...at], 1, [/^\w.*\n$/]],
    [['key.json', ...at], 1, [/a\/b/]],
    [['broken.json', ...at], 1, [/^broken\.json is not JSON \(.+\)\n$/]],
    [['empty.json', ...at], 1, [/^empty\.json is not JSON \(.+\)\n$/]],
    [['missing.json', ...at], 1, [/^missing\.json cannot be read \(ENOENT\)\n$/]],
    [['plugins', ...at], 1, [/^plugins cannot be read \(EISDIR\)\n$/]],
    [['good.json', ...at], 1, [/^This needs NEBULA_ADMIN_KEY as a bearer token\n$/], 'another'],
    [['good.json', '--url', 'http://127.0.0.1:1'], 1, [/^No host answers at http.*--url\n$/]],
    [['good.json', '--url', 'nonsense'], 1, [/^'nonsense' is no URL of a host.*\n$/]],
    [['good.json', '--url', otherUrl], 1, [/is no Nebula Experts host.*\n$/]]
  ]
  const results = await Promise.all(
    wrong.map(([words, , , key = KEY]) =>
      run(t, home, ['pipeline', 'run', ...words], { NEBULA_ADMIN_KEY: key })
    )
  )
  for (const [i, [words, code, reasons]] of wrong.entries()) {
    const { stderr, ...result } = results[i] as Awaited<ReturnType<typeof run>>
    t.match(result, { code, stdout: '' }, String(words[0]))
    for (const reason of reasons) t.match(stderr, reason, String(words[0]))
    t.notMatch(stderr, /\n\s+at /, 'no stack of the host')
  }
  t.strictSame(await begun(), [])
  t.match((await call(`${url}/pipelines`, 'GET')).json, { pipelines: [] })
})

t.test('pipeline run in a host of its own refuses the same', async (t) => {
  const { home } = await makePipelineHome(t)
  const nobody = await writePipeline(home, ['ok-1'], { plan: [{ expert: 'nobody' }] })
  const refused = await run(t, home, ['pipeline', 'run', nobody])
  t.match(refused, { code: 1, stdout: '', stderr: /^plan\.0\.expert: .*nobody.*\n$/ })
  t.match(await run(t, home, ['pipeline', 'run', 'missing.json']), { code: 1, stdout: '' })
  const configured = await run(t, home, ['pipeline', 'run', nobody], { LOG_LEVEL: 'loud' })
  t.match(configured, { code: 78, stdout: '', stderr: /LOG_LEVEL='loud'/ })
  await spawnHost(t, { home })
  const taken = await run(t, home, ['pipeline', 'run', nobody])
  t.equal(taken.code, 70, 'its folder belongs to another host')
  t.match(taken.stdout + taken.stderr, /the host cannot start/)
})

t.test('pipeline wants a file', async (t) => {
  const home = await makeHome(t)
  for (const words of [[], ['run'], ['walk', 'x.json'], ['run', 'x.json', '--uri', 'x']]) {
    const misused = await run(t, home, ['pipeline', ...words])
    t.match(misused, { code: 64, stdout: '', stderr: /Usage: nebula-experts/ }, words.join(' '))
  }
})

t.test('SIGINT cancels the pipeline, here and on a running host', async (t) => {
  for (const where of ['own', 'url']) {
    const { home, latches, begun } = await makePipelineHome(t)
    const file = await writePipeline(home, ['hold-1', 'ok-2'])
    const host = where === 'url' ? await startHost(t, { home }) : null
    const at = host === null ? [] : ['--url', host.url]
    const command = startCommand(t, ['pipeline', 'run', file, ...at], { cwd: home })
    await latches.started('hold-1')
    command.child.kill('SIGINT')
    t.strictSame(await within(command.ended, 15_000, 'its end'), { code: 70, signal: null }, where)
    t.match(command.stdout, /^pipeline p\n(.*\n)*canceled\n$/, where)
    t.equal(command.stderr, '')
    const { url } = host ?? (await spawnHost(t, { home }))
    t.match((await call(`${url}/pipelines/p`, 'GET')).json, { status: 'canceled' })
    t.notOk((await begun()).includes('ok-2'), 'nothing more is begun')
  }
})

t.test('a host that goes away is told of', async (t) => {
  const { home, latches } = await makePipelineHome(t)
  const host = await spawnHost(t, { home })
  const file = await writePipeline(home, ['hold-1'])
  const words = ['pipeline', 'run', file, '--url', host.url]
  const command = startCommand(t, words, { cwd: home })
  await latches.started('hold-1')
  host.child.kill('SIGKILL')
  t.equal((await within(command.ended, 15_000, 'its end')).code, 1)
  t.match(command.stderr, /^No host answers at http.*\n$/)
})

t.test('an expert that cannot run ends pipeline run with its reason', async (t) => {
  const broken = plugin('broken', `init() { throw new Error('there is no model') }`)
  const home = await makeHome(t, { files: { broken } })
  const file = await writePipeline(home, ['1'], { plan: [{ expert: 'broken' }] })
  const command = startCommand(t, ['pipeline', 'run', file], { cwd: home })
  t.equal((await within(command.ended, 15_000, 'its end')).code, 70)
  t.match(command.stdout + command.stderr, /there is no model/)
})
