import t, { type Test } from 'tap'
import { untilTrue } from '../support/experts.ts'
import { makeLatches } from '../support/latches.ts'
import { call, type HostOptions, startHost } from '../support/start-host.ts'

const ODD_STEP = `Actors-2" || 'x`

async function prepare(t: Test, options: HostOptions = {}) {
  const latches = await makeLatches(t)
  const plugins = ['pipeline-worker']
  const env = { LATCH_DIR: latches.dir }
  const config = { experts: { 'pipeline-worker': { concurrency: 8 } } }
  const { url, home, host } = await startHost(t, { plugins, env, config, ...options })
  const send = async (path: string, body: object) =>
    (await call(`${url}/experts/pipeline-worker${path}`, 'POST', body)).json
  const ask = async (method: string, ...args: unknown[]) => {
    const { answer, thrown } = await send('/call', { method, args })
    if (thrown !== undefined) throw Object.assign(new Error(thrown.message), thrown)
    return answer
  }
  const save = (movies: object[]) => send('/save-movies', { movies })
  const created = (...keys: string[]) => save(keys.map((_key) => ({ _key, status: 'created' })))
  const given = async () =>
    ((await latches.events()) as Array<{ event: string; id: string; entity?: string }>)
      .filter(({ event }) => event === 'given')
      .map(({ id, entity }) => `${entity}: ${id}`)
  /** Resolves when so many subscriptions have ended, and the host. */
  const stop = async (subscriptions: number) => {
    await send('/unsubscribe', {})
    await untilTrue('the end of what was subscribed', async () => {
      const ends = (await latches.events()).filter(({ id }) => id === 'subscription')
      return ends.length === subscriptions
    })
    await host.stop()
  }
  return { home, host, env, latches, send, ask, save, created, given, stop }
}

t.test('counters say what is new for an expert', async (t) => {
  const { ask, created, save } = await prepare(t)
  t.strictSame(await ask('getVersions'), [])
  t.equal(await ask('getExpertStatus', 'Actors', 'ClipScene'), false, 'without a document')
  t.equal(await ask('updateExpertStatus', 'movies'), 1)
  t.equal(await ask('updateExpertStatus', 'movies'), 2)
  t.equal(await ask('getExpertStatus', 'ClipScene', 'movies'), true)
  t.equal(await ask('getExpertStatus', 'ClipScene'), true, 'new movies, when it depends on none')
  t.equal(await ask('getExpertStatus', 'Actors', 'ClipScene'), false, '9.2-18 no counter is 0')
  t.equal(await ask('updateExpertStatus', ODD_STEP, 1), 1)
  t.equal(await ask('getExpertStatus', 'Actors', ODD_STEP), true)
  t.equal(await ask('updateExpertStatus', 'ClipScene'), 2, 'what there is now')
  t.match(await ask('getVersions'), [{ movies: 2, [ODD_STEP]: 1, ClipScene: 2 }])
  t.equal(await ask('getExpertStatus', 'constructor', 'movies'), true)

  t.test('6.6-16 a counter is raised to the version that was read', async (t) => {
    await created('a', 'b')
    await save([{ _key: 'c', status: 'done' }, { _key: 'd' }])
    const change = await ask('waitForChange', 'SceneGraph', 'movies', { pollMs: 10 })
    t.strictSame(change, { version: 2, movies: ['Movies/a', 'Movies/b'] })
    await ask('updateExpertStatus', 'movies')
    t.equal(await ask('updateExpertStatus', 'SceneGraph'), 2, 'not to what came meanwhile')
    t.equal(await ask('getExpertStatus', 'SceneGraph', 'movies'), true)
    t.equal(await ask('updateExpertStatus', 'SceneGraph', change.version), 2)
    t.equal(await ask('updateExpertStatus', 'SceneGraph', 1), 2, 'and never lowered')
  })

  t.test('a wait ends when the change comes, and when all are finished', async (t) => {
    const waiting = ask('waitForChange', 'Late', 'Slow', { pollMs: 20 })
    const finish = ask('waitForFinish', ['Late', 'Slow'], { pollMs: 20 })
    await ask('updateExpertStatus', 'Slow', 9)
    t.match(await waiting, { version: 9 })
    let isFinished = false
    void finish.then(() => {
      isFinished = true
    })
    await ask('getVersions')
    t.notOk(isFinished)
    await ask('updateExpertStatus', 'Late', 9)
    await finish
  })
})

t.test(
  '6.6-14, 6.6-17 a subscription gives each movie once per expert, also after a restart',
  async (t) => {
    const first = await prepare(t)
    const many = Array.from({ length: 700 }, (_, place) => `m${String(place).padStart(3, '0')}`)
    await first.created(...many)
    await first.ask('updateExpertStatus', 'movies')
    await first.send('/subscribe', { entity: ODD_STEP, dependency: 'movies' })
    const givenTo = (entity: string, keys: string[]) =>
      keys.map((key) => `${entity}: Movies/${key}`)
    await untilTrue('all of them', async () => (await first.given()).length === 700)
    t.strictSame(await first.given(), givenTo(ODD_STEP, many), 'over more than one page')
    await untilTrue('its counter', async () => (await first.ask('getVersions'))[0][ODD_STEP] === 1)

    await first.created('later')
    await first.ask('updateExpertStatus', 'movies')
    await untilTrue('the later one', async () => (await first.given()).length === 701)
    await first.stop(1)

    const second = await prepare(t, { home: first.home })
    await second.created('last')
    await second.ask('updateExpertStatus', 'movies')
    await second.send('/subscribe', { entity: ODD_STEP, dependency: 'movies' })
    await second.send('/subscribe', { entity: 'Another', dependency: ODD_STEP })
    await untilTrue('the rest', async () => (await second.given()).length >= 703)
    const given = await second.given()
    t.strictSame(
      given.filter((line) => line.startsWith(ODD_STEP)),
      givenTo(ODD_STEP, ['last'])
    )
    t.equal(given.filter((line) => line.startsWith('Another')).length, 702, 'to each expert')
    await second.stop(2)
  }
)

t.test('what is asked is checked, and the error names it', async (t) => {
  const { ask } = await prepare(t)
  for (const [method, args, named] of [
    ['updateExpertStatus', [5], 'step'],
    ['updateExpertStatus', ['_key'], 'step'],
    ['updateExpertStatus', ['x', -1], 'version'],
    ['updateExpertStatus', ['x', 1.5], 'version']
  ] as const) {
    const invalid = { code: 'HOST_DOCUMENT_INVALID', message: new RegExp(named) }
    await t.rejects(ask(method, ...args), invalid, `${method} ${args.join()}`)
  }
})
