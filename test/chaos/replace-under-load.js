// A plugin is replaced 100 times while 300 requests/s come in without retries, and a call of 400 ms is
// always under way: no answer other than 200, and every version answered.
import { join } from 'node:path'
import {
  experts,
  openLoop,
  predict,
  send,
  startChaosHost,
  until,
  writePlugin
} from './chaos-host.js'

const TIMES = 100

const body = (version) => `
  async predict () { return { version: '${version}' } }
  addExpertApis (api) {
    api.get('/slow', {}, async () => {
      await new Promise((resolve) => setTimeout(resolve, 400))
      return { slow: true }
    })
  }
`

export default async function replaceUnderLoad() {
  const host = await startChaosHost({
    plugins: { swapped: body('1.0.0') },
    experts: { swapped: { concurrency: 4 } }
  })
  const quick = openLoop(300, () => predict(host.url, 'swapped'))
  const slow = openLoop(2.5, () => send(`${host.url}/experts/swapped/slow`, 'GET'))
  const times = []
  let missed = 0
  try {
    for (let i = 1; i <= TIMES; i++) {
      const version = `1.0.${i}`
      const began = performance.now()
      await writePlugin(join(host.folder, 'swapped'), 'swapped', version, body(version))
      const served = await until(() => quick.seen.has(`{"version":"${version}"}`))
      if (served === null) missed += 1
      else times.push(performance.now() - began)
    }
    await quick.stop()
    await slow.stop()
    const [expert] = await experts(host.url)
    const count = (loop) => [...loop.statuses].map(([status, n]) => `${n} × ${status}`).join(', ')
    const only200 = (loop) => loop.statuses.size === 1 && loop.statuses.has(200)
    return [
      { what: 'quick calls', found: `${count(quick)} ${quick.bad[0] ?? ''}`, kept: only200(quick) },
      {
        what: 'calls of 400 ms',
        found: `${count(slow)} ${slow.bad[0] ?? ''}`,
        kept: only200(slow)
      },
      {
        what: 'versions that answered',
        found: `${TIMES - missed} of ${TIMES}, the middle one ${Math.round(times.sort((a, b) => a - b)[Math.floor(times.length / 2)])} ms after its files were written`,
        kept: missed === 0
      },
      {
        what: 'in the end',
        found: `${expert.status} ${expert.version}`,
        kept: expert.status === 'ACTIVE'
      }
    ]
  } finally {
    await host.stop()
  }
}
