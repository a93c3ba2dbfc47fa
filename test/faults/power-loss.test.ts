import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { childrenOf, isRunning } from '../support/experts.ts'
import { stormJobs } from '../support/job-storm.js'
import { makeLatches } from '../support/latches.ts'
import { buildLibrary, LosablePower } from '../support/lost-power.js'
import { notedRuns } from '../support/noted-runs.js'
import { randomFrom } from '../support/random-from.js'
import { call, makeHome, spawnHost } from '../support/start-host.ts'

const KINDS = ['synced', 'names', 'torn'] as const
const skip = process.platform === 'linux' ? skipWithout('cc') : 'needs Linux'
const seed = Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 32))
const random = randomFrom(seed)
// In the title, which is printed whatever fails.
const title = `the power goes (CHAOS_SEED=${seed}): every job and document that was answered is there`

t.test(title, { skip }, async (t) => {
  const { dir } = await makeLatches(t)
  const home = await makeHome(t, {
    files: { quick: notedRuns('quick'), slow: notedRuns('slow') },
    config: {
      experts: {
        quick: { env: { LATCH_DIR: dir } },
        slow: { env: { LATCH_DIR: dir }, concurrency: 4 }
      }
    }
  })
  const [state, kept] = [join(home, 'state'), join(home, 'kept')]
  for (const folder of [state, kept]) await mkdir(folder)
  const library = (await buildLibrary(home)) as string
  const power = new LosablePower(await realpath(state), kept, library)
  let starts = 0
  const lost: Array<{ files: number; bytes: number }> = []
  const start = async () => {
    if (starts > 0) lost.push(power.lose(KINDS[(starts - 1) % 3] as 'torn', random))
    starts += 1
    // The host makes its data folder: its name has to be made durable too.
    const env = {
      ...power.env,
      JOBS_EXPIRATION: '3600',
      NEBULA_DATA_DIR: join(power.folder, 'data')
    }
    const host = await spawnHost(t, { home, env })
    for (let key = 1; key < starts; key++) {
      t.match((await call(`${host.url}/movies/${key}`, 'GET')).json, { name: `movie ${key}` })
    }
    const movie = { _key: `${starts}`, name: `movie ${starts}` }
    t.equal((await call(`${host.url}/movies`, 'POST', movie)).status, 201)
    return { url: host.url, pid: host.child.pid as number, exited: host.exited }
  }
  const storm = await stormJobs({
    ...{ start, latchDir: dir, kills: KINDS.length, jobsEach: 30, childrenOf, isRunning }
  })
  t.strictSame(storm.wrong, [], 'no id is lost, no end changes, no answer is of no run')
  t.ok(storm.answered.size >= KINDS.length * 30, `${storm.answered.size} jobs`)
  t.ok(
    lost.every(({ files, bytes }) => files + bytes > 0),
    'each time something was not on the disk'
  )
})
