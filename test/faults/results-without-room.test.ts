import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { predict } from '../support/experts.ts'
import { ended, recordOf } from '../support/jobs.ts'
import { acceptRun, makeNotedHome, startNoted } from '../support/noted-host.ts'
import { call } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const SMALLEST = { NEBULA_JOB_STORE_MAX_BYTES: '1048576' }
/** A result that the store does not take is given up after 60 tries, half a second apart. */
const GIVEN_UP_MS = 60_000
// They wait for most of their time: side by side, each with options of its own, which tap writes into.
t.jobs = 3

t.test(
  'a result for which the store never has room fails its job',
  { buffered: true },
  async (t) => {
    const { url } = await startNoted(t, { experts: ['noted', 'other'], env: SMALLEST })
    const base = `${url}/experts/noted`
    const began = performance.now()
    const id = await acceptRun(base, 'too large', 'bytes 2000000')
    const behind = await acceptRun(base, 'behind', '-')
    t.match(await predict(url, 'other', 'meanwhile'), { status: 200 })
    const small = await acceptRun(`${url}/experts/other`, 'small', '-')
    t.match(await ended(url, small), { status: 'succeeded' })
    const record = await until(
      'its end',
      async () => {
        const found = await recordOf(base, id)
        return found.state === 'finish' ? found : undefined
      },
      GIVEN_UP_MS
    )
    t.match(record, { status: 'failed', code: 'HOST_STORE_FULL', result: null, attempts: 1 })
    t.match(await ended(base, behind), { status: 'succeeded' }, 'what waited behind it runs')
    t.match(await recordOf(url, small), { result: 'small' }, 'nothing gives way to it in vain')
    t.comment(`given up after ${Math.round((performance.now() - began) / 1000)} s`)
  }
)

/** Starts a host whose files may not grow over so many bytes: as on a disk that is full, but for these. */
async function startLimited(t: Test, home: string, bytes: number): Promise<string> {
  // POSIX counts in blocks of 512 bytes.
  const script = `trap '' XFSZ; ulimit -f ${bytes / 512}; exec "$0" "$@"`
  const child = spawn('/bin/sh', ['-c', script, process.execPath, MAIN, 'serve'], {
    cwd: home,
    env: {
      PATH: process.env.PATH,
      PORT: '0',
      HOST: '127.0.0.1',
      EXPERT_OUTPUT_ROOT: join(home, 'output')
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const url = await new Promise<string>((resolve, reject) => {
    let found: string
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const { url, active } = JSON.parse(line)
      found ??= url
      if (Array.isArray(active)) resolve(found)
    })
    child.once('exit', (code) => reject(new Error(`the host ended with ${code}`)))
  })
  const limits = await readFile(`/proc/${child.pid}/limits`, 'utf8')
  t.match(limits, new RegExp(`Max file size +${bytes} `), 'the limit counts')
  return url
}

t.test('an output_file for which the disk has no room', { buffered: true }, async (t) => {
  const { home } = await makeNotedHome(t)
  const output = join(home, 'output')
  await mkdir(output)
  const url = await startLimited(t, home, 20 * 1024 * 1024)
  const write = (how: string, more: Record<string, unknown> = {}) =>
    call(`${url}/predict/image`, 'POST', {
      ...{ image_id: 'one', url: how, output: 'file', output_file: 'answer.json' },
      ...more
    })
  t.match(await write('-'), { status: 200, json: { result: 'one', error: null } })
  const old = await readFile(join(output, 'answer.json'), 'utf8')
  t.match(JSON.parse(old), { result: 'one' })

  const { status, json } = await write('bytes 25000000')
  t.equal(status, 200)
  t.match(json.error, /output_file 'answer\.json' could not be written: EFBIG/)
  t.equal(json.result?.length, 25_000_000, 'the answer itself is there')
  t.equal(await readFile(join(output, 'answer.json'), 'utf8'), old, 'the old file is intact')
  t.strictSame(await readdir(output), ['answer.json'], 'no part of the new one is left')

  t.match(await write('bytes 10'), { status: 200, json: { error: null } }, 'the host serves on')
  t.match(JSON.parse(await readFile(join(output, 'answer.json'), 'utf8')), { result: /^x{10}$/ })
})

t.test(
  'an accepted job whose result the disk has no room for fails',
  { buffered: true },
  async (t) => {
    const { home } = await makeNotedHome(t)
    const url = await startLimited(t, home, 8 * 1024 * 1024)
    const id = await acceptRun(url, 'too large', 'bytes 9000000')
    const record = await until(
      'its end',
      async () => {
        const found = await recordOf(url, id)
        return found.state === 'finish' ? found : undefined
      },
      GIVEN_UP_MS
    )
    t.match(record, { status: 'failed', code: /^HOST_STORE_/, result: null })
    t.match(await ended(url, await acceptRun(url, 'next', '-')), { status: 'succeeded' })
  }
)
