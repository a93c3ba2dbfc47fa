import t from 'tap'
import { expertOf, isRunning, pidOf, predict, untilTrue } from '../support/experts.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

const writing = plugin(
  'writing',
  `async predict(params) {
    const { text, repeat = 1 } = params.extra_params ?? {}
    if (text === undefined) return process.pid
    // A pipe takes what fits; the rest is offered again.
    let rest = Buffer.from(text.repeat(repeat))
    while (rest.length > 0) {
      try { rest = rest.subarray(writeSync(3, rest)) } catch (error) { if (error.code !== 'EAGAIN') throw error }
    }
    await new Promise(() => {})
  }`,
  "import { writeSync } from 'node:fs'"
)

/** What is written to descriptor 3 → words of the reason. */
const garbage: Array<[string, RegExp, number?]> = [
  ['Traceback (most recent call last):\n', /wrote what is no message: .*Traceback/],
  ['{"a":1}\n', /wrote what is no message/],
  ['\u0000\u0001\n', /wrote what is no message/],
  ['["shout",1]\n', /no message: \["shout",1\]/],
  ['[]\n', /no message: \[\]/],
  ['["error",1]\n', /no message: \["error",1\]/],
  ['["error",1,{"code":"X","message":"m","statusCode":99}]\n', /no message/],
  ['["log","constructor","x",null,null]\n', /no message: \["log","constructor"/],
  ['["failed"]\n', /no message: \["failed"\]/],
  ['["mirror",null]\n', /no message: \["mirror",null\]/],
  ['["reply",1,{"status":1e9,"type":null,"file":null}]\n', /no message: \["reply"/],
  ['x', /message of more than \d+ bytes/, 80_000_000]
]

t.test('what is no message on the channel ends the process that wrote it, alone', async (t) => {
  const { url } = await startHost(t, {
    files: { writing, echo: plugin('echo', 'async predict(params) { return params.movie_id }') },
    config: { experts: { writing: { quarantine: { failures: 100 } } } }
  })
  const other = await pidOf(url, 'echo')
  for (const [text, words, repeat] of garbage) {
    const pid = await pidOf(url, 'writing')
    const [lost, fine] = await Promise.all([
      predict(url, 'writing', 'Movies/1', { text, repeat }),
      predict(url, 'echo', 'Movies/1')
    ])
    t.match(lost, { status: 502, json: { code: 'HOST_EXPERT_EXITED', detail: words } }, text)
    t.equal(fine.status, 200)
    t.notOk(isRunning(pid))
    t.match((await expertOf(url, 'writing')).last_exit, words)
    const again = await predict(url, 'writing', 'Movies/2')
    t.equal(again.status, 200, 'the next process serves')
    t.not(again.json, pid)
  }
  t.equal(await pidOf(url, 'echo'), other, 'the process of the other lives')
  t.equal((await call(`${url}/health/live`, 'GET')).status, 200)
})

t.test('answers to what was never asked are dropped', async (t) => {
  const { url } = await startHost(t, { files: { writing } })
  const pid = await pidOf(url, 'writing')
  const hanging = predict(url, 'writing', 'Movies/1', {
    text: '["result",4711]\t"never asked"\n["progress",4712,0.5,null]\n["result",1]\t"by hand"\n'
  })
  t.match(await hanging, { status: 200, json: 'by hand' })
  t.equal(await pidOf(url, 'writing'), pid)
})

t.test('a channel that is closed from inside ends the process', async (t) => {
  const { url } = await startHost(t, {
    files: {
      closing: plugin(
        'closing',
        `async predict(params) {
          if (params.movie_id !== 'close') return 'fine'
          closeSync(3)
          for (;;);
        }`,
        "import { closeSync } from 'node:fs'"
      )
    }
  })
  const pid = await pidOf(url, 'closing')
  t.match(await predict(url, 'closing', 'close'), {
    status: 502,
    json: { code: 'HOST_EXPERT_EXITED' }
  })
  await untilTrue('the end', () => !isRunning(pid))
  t.match(await predict(url, 'closing', 'Movies/1'), { status: 200, json: 'fine' })
})
