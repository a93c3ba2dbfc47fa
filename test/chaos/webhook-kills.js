// 1,000 deliveries of webhooks to a receiver that fails a third of all requests, and 5 × kill -9 of the host in the
// middle of them: each is delivered at least once, signed, and those of one job in order.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { notedRuns } from '../support/noted-runs.js'
import { stormWebhooks } from '../support/webhook-storm.js'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const DELIVERIES = 1000
const KILLS = 5

export default async function webhookKills() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = []
  try {
    const folder = join(home, 'plugins', 'quick')
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(notedRuns('quick'))) {
      await writeFile(join(folder, file), text)
    }
    const experts = { quick: { env: { LATCH_DIR: home }, concurrency: 4 } }
    const config = JSON.stringify({ plugins_dir: ['./plugins'], experts })
    await writeFile(join(home, 'experts.config.json'), config)
    const storm = await stormWebhooks({
      start: (env) => startOn(home, env, children),
      jobs: DELIVERIES / 2,
      kills: KILLS
    })
    const { requests, deliveries, wanted, missing, unsigned, disorder, left, ms } = storm
    return [
      {
        what: `deliveries of ${storm.accepted} jobs past ${KILLS} kills`,
        found: `${wanted - missing.length} of ${wanted}; ${missing.length} missing, ${left} left or given up`,
        kept: wanted === DELIVERIES && missing.length === 0 && left === 0
      },
      {
        what: 'requests',
        found: `${requests}, of which a third was failed; ${deliveries} different webhook-ids`,
        kept: requests > wanted && deliveries >= wanted
      },
      {
        what: 'signatures that do not fit',
        found: `${unsigned.length} ${unsigned[0] ?? ''}`,
        kept: unsigned.length === 0
      },
      {
        what: 'events of a job after a later one',
        found: `${disorder.length} ${disorder[0] ?? ''}`,
        kept: disorder.length === 0
      },
      { what: 'all told', found: `after ${Math.round(ms)} ms`, kept: true }
    ]
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(home, { recursive: true, force: true })
  }
}

/** A host that serves what the home has; resolves when its first round of starts has ended. */
async function startOn(home, more, children) {
  const { PATH, HOME } = process.env
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    cwd: home,
    env: { PATH, HOME, PORT: '0', HOST: '127.0.0.1', ...more },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  children.push(child)
  const exited = once(child, 'exit')
  const url = await new Promise((resolve, reject) => {
    let found
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text)
      found ??= line.url
      if (Array.isArray(line.active)) resolve(found)
    })
    child.once('exit', () => reject(new Error('the host ended before it served')))
  })
  return { url, kill: () => child.kill('SIGKILL'), exited }
}
