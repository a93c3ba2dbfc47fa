import { readFileSync } from 'node:fs'
import t from 'tap'
import { predict, untilTrue } from '../support/experts.ts'
import { call, plugin, spawnHost } from '../support/start-host.ts'

const LINES = 1_000_000

/** Most memory a process has had so far, bytes. */
function peakMemory(pid: number): number {
  const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(found?.[1]) * 1024
}

t.test('a flood of output costs the host neither memory nor log', async (t) => {
  const host = await spawnHost(t, {
    files: {
      flooding: plugin(
        'flooding',
        `async predict(params) {
          if (params.movie_id === 'line') console.log('the line after')
          else if (params.movie_id === 'endless') for (let i = 0; i < 200; i++) process.stderr.write('x'.repeat(1e6))
          else for (let i = 0; i < ${LINES / 1000}; i++) console.log('flood\\n'.repeat(999) + 'flood')
          return 'done'
        }`
      ),
      echo: plugin('echo', 'async predict(params) { return params.movie_id }')
    }
  })
  const pid = host.child.pid as number
  const before = peakMemory(pid)
  const flood = predict(host.url, 'flooding', 'flood')
  let slowest = 0
  let flooding = true
  void flood.then(() => (flooding = false))
  while (flooding) {
    const sent = performance.now()
    t.equal((await predict(host.url, 'echo', 'Movies/1')).status, 200)
    slowest = Math.max(slowest, performance.now() - sent)
  }
  t.match(await flood, { status: 200, json: 'done' })
  // The count is told with the first line of another second.
  let after = 0
  await untilTrue('the count', async () => {
    after += 1
    await predict(host.url, 'flooding', 'line')
    return host.lines.some((line) => line.msg === 'the line after')
  })
  t.match(
    await predict(host.url, 'flooding', 'endless'),
    { status: 200 },
    'one line without an end'
  )

  const told = () =>
    host.lines.filter((line) => line.expert === 'flooding').map((line) => line.msg as string)
  const counts = () => {
    const texts = told()
    const dropped = texts.map((text) => Number(/^\((\d+) lines dropped/.exec(text)?.[1] ?? 0))
    return {
      kept: texts.filter((text) => text === 'flood').length,
      keptAfter: texts.filter((text) => text === 'the line after').length,
      dropped: dropped.reduce((sum, count) => sum + count, 0)
    }
  }
  // Lines come by another way than answers: the last may be on it yet.
  await untilTrue('the last line', () => {
    const { kept, keptAfter, dropped } = counts()
    return kept + keptAfter + dropped >= LINES + after
  })
  const { kept, keptAfter, dropped } = counts()
  t.ok(kept > 0 && kept < 20_000, `${kept} lines kept`)
  t.equal(kept + keptAfter + dropped, LINES + after, 'all are counted')
  const grown = peakMemory(pid) - before
  t.ok(grown < 128 * 1024 * 1024, `the host grew by ${grown} bytes`)
  t.ok(Math.max(...told().map((text) => text.length)) < 10_000, 'no line is longer than it may be')
  t.equal((await call(`${host.url}/health/live`, 'GET')).status, 200)
  t.comment(`slowest other call: ${slowest.toFixed(0)} ms; grown by ${(grown / 1e6).toFixed(0)} MB`)
})
