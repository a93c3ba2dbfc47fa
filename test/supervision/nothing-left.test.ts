import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { childrenOf, isRunning, pidOf, predict, untilTrue } from '../support/experts.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

const KILLS = 20

const body = `
  async predict(params, context) {
    if (params.movie_id === 'hang') {
      writeFileSync(context.tmp + '/half', 'x')
      await new Promise(() => {})
    }
    if (params.movie_id === 'tmp') {
      writeFileSync(context.tmp + '/mine', 'x')
      while (!existsSync(process.env.HOME + '/never') && params.extra_params.ms > 0) {
        await new Promise((resolve) => setTimeout(resolve, 20))
        params.extra_params.ms -= 20
      }
      return existsSync(context.tmp + '/mine')
    }
    return process.pid
  }`
const imports = "import { existsSync, writeFileSync } from 'node:fs'"

const descriptors = () => readdirSync('/proc/self/fd').length

t.test('after kills, calls and a stop nothing is left', async (t) => {
  const { url, home, host } = await startHost(t, {
    files: { mortal: plugin('mortal', body, imports) },
    config: { experts: { mortal: { quarantine: { failures: 1000 } } } }
  })
  const [run] = readdirSync(join(home, 'data', 'run')).map((name) =>
    join(home, 'data', 'run', name)
  )
  const temporary = () => {
    const folder = join(run as string, 'tmp')
    return existsSync(folder) ? readdirSync(folder) : []
  }
  const killOnce = async () => {
    const pid = await pidOf(url, 'mortal')
    const hanging = predict(url, 'mortal', 'hang')
    await untilTrue('its file', () => temporary().length > 0)
    process.kill(pid, 'SIGKILL')
    t.equal((await hanging).status, 502)
    t.equal((await predict(url, 'mortal', 'Movies/1')).status, 200)
    t.notOk(isRunning(pid))
  }
  await killOnce()
  await untilTrue('its temporary files', () => temporary().length === 0)
  const before = descriptors()
  for (let i = 0; i < KILLS; i++) {
    await killOnce()
    await untilTrue('its temporary files', () => temporary().length === 0)
  }
  await untilTrue('its descriptors', () => descriptors() <= before, 5000)
  t.equal(childrenOf(process.pid).filter(isRunning).length, 1)
  await host.stop()
  t.strictSame(childrenOf(process.pid).filter(isRunning), [])
  t.strictSame(readdirSync(join(home, 'data', 'run')), [], 'its run folder is gone')
})

t.test('the end of an old process leaves the temporary files of the next alone', async (t) => {
  const { url } = await startHost(t, {
    files: { mortal: plugin('mortal', body, imports) },
    config: { experts: { mortal: { concurrency: 2 } } },
    env: { NEBULA_ADMIN_KEY: 'key' }
  })
  const old = await pidOf(url, 'mortal')
  const draining = predict(url, 'mortal', 'tmp', { ms: 1500 })
  await untilTrue('the old run', async () => isRunning(old))
  const reload = `${url}/manage/experts/mortal/reload`
  const { status } = await call(reload, 'POST', undefined, { authorization: 'Bearer key' })
  t.equal(status, 200)
  t.not(await pidOf(url, 'mortal'), old)
  const fresh = predict(url, 'mortal', 'tmp', { ms: 3000 })
  t.match(await draining, { status: 200, json: true })
  await untilTrue('the end of the old', () => !isRunning(old))
  t.match(await fresh, { status: 200, json: true }, 'its file is still there')
})
