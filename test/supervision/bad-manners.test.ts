import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { expertOf, pidOf, predict, untilTrue } from '../support/experts.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

const echo = 'async predict(params) { return params.movie_id }'

t.test('an expert that answers twice, late or oddly harms nobody', async (t) => {
  const { url } = await startHost(t, {
    files: {
      rude: plugin(
        'rude',
        `async predict(params, context) {
          const { how } = params.extra_params ?? {}
          if (how === 'twice') {
            writeSync(3, '["result",1]\\t"first"\\n["result",1]\\t"second"\\n')
            return 'third'
          }
          if (how === 'late') {
            await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
            return 'late'
          }
          if (how === 'progress') {
            const kept = []
            for (const fraction of [-1, 2, 'half', Infinity, NaN, {}, 1n]) {
              try { context.progress(fraction); kept.push('taken') } catch { kept.push('refused') }
            }
            for (const note of [42, null, { a: 1 }, 1n, Symbol('x'), 'fine']) context.progress(0.5, note)
            return kept
          }
          if (how === 'log') {
            for (const fields of [42, 'text', null, [1], 1n, new Error('kept')]) context.log.info('odd', fields)
            return 'logged'
          }
          return process.pid
        }`,
        "import { writeSync } from 'node:fs'"
      )
    }
  })
  const pid = await pidOf(url, 'rude')
  t.match(await predict(url, 'rude', '1', { how: 'twice' }), { status: 200, json: 'first' })
  t.match(await predict(url, 'rude', '2'), { status: 200, json: pid }, 'not the answer of another')

  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  const body = JSON.stringify({ movie_id: '3', local: false, extra_params: { how: 'late' } })
  socket.write(
    `POST /experts/rude/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  )
  await untilTrue('the run', async () => {
    return (await expertOf(url, 'rude')).instances[0]?.in_flight === 1
  })
  socket.destroy()
  await once(socket, 'close')
  t.match(await predict(url, 'rude', '4'), { status: 200, json: pid })

  t.match(await predict(url, 'rude', '5', { how: 'progress' }), {
    status: 200,
    json: ['taken', 'taken', 'refused', 'taken', 'refused', 'refused', 'taken']
  })
  t.match(await predict(url, 'rude', '6', { how: 'log' }), { status: 200, json: 'logged' })
  t.match(await predict(url, 'rude', '7'), { status: 200, json: pid }, 'the process lives')
  t.equal((await expertOf(url, 'rude')).restarts, 0)
})

t.test('a flood through the log slows nobody down for long', async (t) => {
  const { url } = await startHost(t, {
    files: {
      floods: plugin(
        'floods',
        `async init() {
          const line = 'x'.repeat(1000)
          setInterval(() => { for (let i = 0; i < 5000; i++) this.log.info(line) }, 20)
        }
        ${echo}`
      ),
      echo: plugin('echo', echo)
    }
  })
  const rss = process.memoryUsage().rss
  const began = performance.now()
  const times: number[] = []
  while (performance.now() - began < 3000) {
    const before = performance.now()
    const { status } = await predict(url, 'echo', 'Movies/1')
    times.push(performance.now() - before)
    if (status !== 200) t.fail(`answered ${status}`)
  }
  times.sort((a, b) => a - b)
  const p99 = times[Math.floor(times.length * 0.99)] as number
  const grown = (process.memoryUsage().rss - rss) / 1024 / 1024
  t.comment(
    `${times.length} calls beside the flood, p99 ${p99.toFixed(0)} ms, ${grown.toFixed(0)} MB`
  )
  t.ok(p99 < 500, `p99 ${p99.toFixed(0)} ms`)
  t.ok(grown < 300, `grown by ${grown.toFixed(0)} MB`)
  t.equal((await call(`${url}/health/live`, 'GET')).status, 200)
})
