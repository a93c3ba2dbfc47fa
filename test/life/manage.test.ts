import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expertOf, isRunning, pidOf, predict, untilTrue } from '../support/experts.ts'
import { keepCalling, versioned, writeFiles } from '../support/packages.ts'
import { call, startHost } from '../support/start-host.ts'

const BIN = fileURLToPath(new URL('../../host/bin/nebula-experts.js', import.meta.url))
const syntaxError = (name: string) => versioned(name, 'bad', 'async predict( { return 1 }')

function change(url: string, name: string, action: string, key?: string) {
  const headers: Record<string, string> =
    key === undefined ? {} : { authorization: `Bearer ${key}` }
  return call(`${url}/manage/experts/${name}/${action}`, 'POST', undefined, headers)
}

t.test('an expert is changed by hand, and no call fails', async (t) => {
  const { url, home } = await startHost(t, { files: { handy: versioned('handy', '1') } })
  const folder = join(home, 'plugins', 'handy')
  const calling = keepCalling(t, url, 'handy')

  const first = await pidOf(url, 'handy')
  const restarted = await change(url, 'handy', 'restart')
  t.match(restarted, { status: 200, json: { name: 'handy', status: 'ACTIVE', version: '1' } })
  const second = await pidOf(url, 'handy')
  t.not(second, first, 'its process is another')
  await untilTrue('the end of the old process', () => !isRunning(first))

  // Not waiting for the watch: what lies in the folder at the call is what serves after it.
  await writeFiles(folder, versioned('handy', '2'))
  t.match(await change(url, 'handy', 'reload'), { status: 200, json: { version: '2' } })
  t.equal((await predict(url, 'handy', 'Movies/1')).json, '2')

  await writeFiles(folder, syntaxError('handy'))
  const refused = await change(url, 'HANDY', 'reload')
  t.match(refused, { status: 409, json: { code: 'HOST_RELOAD_FAILED', detail: /index\.js:4/ } })
  await writeFiles(folder, { 'package.json': '{' })
  const unread = await change(url, 'handy', 'reload')
  t.match(unread, { status: 409, json: { code: 'HOST_RELOAD_FAILED', detail: /package\.json/ } })
  t.match(await expertOf(url, 'handy'), { status: 'ACTIVE', reason: /the old one serves on/ })
  await writeFiles(folder, versioned('handy', '3'))
  const all = await Promise.all(
    ['reload', 'load', 'restart', 'reload', 'load', 'restart'].map((action) => {
      return change(url, 'handy', action)
    })
  )
  t.strictSame(
    all.map(({ status }) => status),
    [200, 200, 200, 200, 200, 200]
  )
  t.match(await expertOf(url, 'handy'), { status: 'ACTIVE', version: '3', reason: null })
  await calling.stop()
  t.strictSame(calling.failures, [])
  t.strictSame([...calling.answers.keys()].sort().slice(0, 2), ['1', '2'])
  t.equal((await predict(url, 'handy', 'Movies/1')).json, '3')

  for (const action of ['load', 'unload', 'reload', 'restart']) {
    t.match(await change(url, 'nobody', action), {
      status: 404,
      json: { code: 'HOST_EXPERT_UNKNOWN' }
    })
  }
})

t.test('what was unloaded stays so until it is loaded', async (t) => {
  const { url, home } = await startHost(t, {
    files: { sticky: versioned('sticky', '1'), other: versioned('other', '1') }
  })
  const unloaded = { status: 200, json: { status: 'STOPPED', instances: [] } }
  const pid = await pidOf(url, 'sticky')
  for (const answer of await Promise.all([
    change(url, 'sticky', 'unload'),
    change(url, 'sticky', 'unload')
  ])) {
    t.match(answer, unloaded)
  }
  t.match(await change(url, 'sticky', 'unload'), unloaded, 'once more changes nothing')
  t.notOk(isRunning(pid))
  const absent = { status: 404, json: { code: 'HOST_EXPERT_ABSENT', detail: /unloaded by hand/ } }
  t.match(await predict(url, 'sticky', 'Movies/1'), absent)

  // Both are written at once, so what the other serves has been followed for this one, too.
  for (const name of ['sticky', 'other']) {
    await writeFiles(join(home, 'plugins', name), versioned(name, '2'))
  }
  await untilTrue('the watch', async () => (await predict(url, 'other', 'Movies/1')).json === '2')
  t.match(await expertOf(url, 'sticky'), { status: 'STOPPED', instances: [] })
  t.match(await predict(url, 'sticky', 'Movies/1'), absent)

  t.match(await change(url, 'sticky', 'load'), { status: 200, json: { status: 'ACTIVE' } })
  t.equal((await predict(url, 'sticky', 'Movies/1')).json, '2')
  const loaded = await pidOf(url, 'sticky')
  t.match(await change(url, 'sticky', 'load'), { status: 200, json: { status: 'ACTIVE' } })
  t.equal(await pidOf(url, 'sticky'), loaded, 'what is loaded is left alone')

  // A restart also ends the unloading: from then on files are followed again.
  await change(url, 'sticky', 'unload')
  t.match(await change(url, 'sticky', 'restart'), { status: 200, json: { status: 'ACTIVE' } })
  await writeFiles(join(home, 'plugins', 'sticky'), versioned('sticky', '3'))
  await untilTrue('what was written', async () => {
    return (await predict(url, 'sticky', 'Movies/1')).json === '3'
  })
})

t.test('with a key set, a change needs it', async (t) => {
  const { url } = await startHost(t, {
    files: { handy: versioned('handy', '1') },
    env: { NEBULA_ADMIN_KEY: 'the key of the house' }
  })
  const pid = await pidOf(url, 'handy')
  for (const key of [undefined, 'another']) {
    for (const action of ['load', 'unload', 'reload', 'restart']) {
      t.match(await change(url, 'handy', action, key), {
        status: 403,
        json: { code: 'HOST_FORBIDDEN' }
      })
    }
  }
  t.equal(await pidOf(url, 'handy'), pid)
  t.equal((await change(url, 'handy', 'restart', 'the key of the house')).status, 200)
  t.not(await pidOf(url, 'handy'), pid)
})

t.test('the same on the command line', async (t) => {
  const { url, home } = await startHost(t, {
    files: { handy: versioned('handy', '1') },
    env: { NEBULA_ADMIN_KEY: 'the key of the house' }
  })
  const other = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await untilTrue('the other server', () => other.listening)
  const otherUrl = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
  const run = (words: string[], key = 'the key of the house') =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const env = { PATH: process.env.PATH, NEBULA_ADMIN_KEY: key }
      execFile(process.execPath, [BIN, ...words], { env }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
      })
    })
  const at = ['--url', url]
  t.match(await run(['unload', 'handy', ...at]), {
    code: 0,
    stdout: /^handy 1 is STOPPED\n$/,
    stderr: ''
  })
  t.match(await run(['load', 'handy', ...at]), {
    code: 0,
    stdout: /^handy 1 is ACTIVE, process \d+\n$/
  })
  await writeFiles(join(home, 'plugins', 'handy'), versioned('handy', '2'))
  t.match(await run(['reload', 'handy', ...at]), { code: 0, stdout: /^handy 2 is ACTIVE/ })
  t.match(await run(['restart', 'handy', ...at]), { code: 0, stdout: /^handy 2 is ACTIVE/ })

  await writeFiles(join(home, 'plugins', 'handy'), syntaxError('handy'))
  const wrong: Array<[string[], number, RegExp, string?]> = [
    [['reload', 'handy', ...at], 1, /^Expert 'handy' was not changed: .*index\.js:4/],
    [['reload', 'nobody', ...at], 1, /^There is no expert named 'nobody'\n$/],
    [['reload', 'handy', ...at], 1, /^This needs NEBULA_ADMIN_KEY as a bearer token\n$/, 'another'],
    [['load', 'handy', '--url', 'http://127.0.0.1:1'], 1, /^No host answers at http:.*--url\n$/],
    [['load', 'handy', '--url', 'nonsense'], 1, /^'nonsense' is no URL of a host.*\n$/],
    [['load', 'handy', '--url', otherUrl], 1, /is no Nebula Experts host.*\n$/],
    [['reload', ...at], 64, /^reload wants the name of an expert\n/],
    [['relaod', 'handy'], 64, /^There is no command 'relaod'\n/],
    [['reload', 'handy', '--uri', url], 64, /--uri/]
  ]
  const results = await Promise.all(wrong.map(([words, , , key]) => run(words, key)))
  for (const [i, [words, code, stderr]] of wrong.entries()) {
    t.match(results[i], { code, stderr, stdout: '' }, words.join(' '))
  }
})
