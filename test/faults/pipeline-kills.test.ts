import t from 'tap'
import { stormPipeline } from '../support/pipeline-storm.js'
import { makeItemsHome, movieIds } from '../support/pipelines.ts'
import { spawnHost } from '../support/start-host.ts'

const KILLS = 8

t.test(
  'kill -9 of the host within a pipeline: it goes on by itself, and nothing is done twice',
  async (t) => {
    const { home, latches } = await makeItemsHome(t, {
      experts: ['first', 'second', 'third'],
      settings: { concurrency: 3 }
    })
    const storm = await stormPipeline({
      hosts: [
        async () => {
          const { url, child, exited } = await spawnHost(t, { home })
          return { url, pid: child.pid as number, exited }
        }
      ],
      latchDir: latches.dir,
      kills: KILLS,
      killEvery: 60,
      movies: movieIds(600),
      plan: [
        { expert: 'first', extra_params: { how: 'ms 60' } },
        { expert: 'second', depends_on: ['first'], extra_params: { how: 'ms 40' } },
        { expert: 'third', extra_params: { how: 'ms 60' } }
      ]
    })
    t.strictSame(storm.wrong.slice(0, 10), [], 'each item ended once, and what had ended stays so')
    const again = [...storm.runs.values()].filter((times) => times > 1)
    t.ok(again.length > 0, `${again.length} items were lost and begun again`)
    t.ok(storm.seen > 0, `${storm.seen} items were seen finished before the last kill`)
    const most = (values: number[]) => Math.round(Math.max(...values))
    t.comment(
      `${storm.items} items, ${again.length} begun again, at most ${Math.max(...storm.runs.values())} times, ` +
        `served after ${most(storm.startMs)} ms, went on ${most(storm.idleMs)} ms later, at most ${storm.attempts} attempts`
    )
  }
)
