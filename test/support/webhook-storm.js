import { setTimeout as pause } from 'node:timers/promises'
import { startReceiver } from './webhook-receiver.js'

/**
 * Sends jobs with a webhook to a host that is killed again and again, to a receiver that fails every third
 * request, and waits until all is told.
 *
 * @param {object} options
 * @param {(env: Record<string, string>) => Promise<{
 *   url: string, kill: () => void, exited: Promise<unknown>
 * }>} options.start - a host on always the same home, with an expert `quick` that takes pictures
 * @param {number} options.jobs - each is told its start and its end: two deliveries
 * @param {number} options.kills
 */
export async function stormWebhooks({ start, jobs, kills }) {
  const secret = 'whsec_c3Rvcm0gb2Ygd2ViaG9va3M='
  let asked = 0
  const told = await startReceiver({
    secret,
    answer: (got, response) => {
      asked += 1
      // Before anything is told, after it, and by a cut connection in between.
      const how = asked % 3 === 0 ? Math.floor(asked / 3) % 3 : -1
      if (how === 0) response.writeHead(500).end()
      else if (how === 1) response.writeHead(503, { 'retry-after': '0' }).end('later')
      else if (how === 2) response.destroy()
      else {
        got.isTaken = true
        response.writeHead(204).end()
      }
    }
  })
  const env = {
    EXPERT_ALLOW_HOSTS: `127.0.0.1:${told.port}`,
    NEBULA_WEBHOOK_SECRET: secret,
    NEBULA_WEBHOOK_RETRIES: Array(60).fill('0.05').join(),
    JOBS_EXPIRATION: '3600'
  }
  const accepted = new Set()
  const began = performance.now()
  let host = await start(env)
  try {
    for (let kill = 0; kill <= kills; kill++) {
      const share = Math.ceil((jobs * (kill + 1)) / (kills + 1))
      const before = told.got.length
      while (accepted.size < share) {
        const many = Math.min(20, share - accepted.size)
        const ids = await Promise.all(
          Array.from({ length: many }, () => accept(host.url, told.url))
        )
        for (const id of ids) accepted.add(id)
      }
      if (kill === kills) break
      // In the middle of its deliveries.
      while (told.got.length < before + share / 4) await pause(2)
      host.kill()
      await host.exited
      host = await start(env)
    }
    const wanted = accepted.size * 2
    const limit = performance.now() + 60_000
    while (deliveriesOf(told.got).size < wanted && performance.now() < limit) await pause(20)
    const isEmpty = async () => (await list(host.url, 'waiting')).length === 0
    while (!(await isEmpty()) && performance.now() < limit) await pause(20)
    const failed = await list(host.url, 'failed')
    return {
      accepted: accepted.size,
      requests: told.got.length,
      deliveries: deliveriesOf(told.got).size,
      wanted,
      unsigned: told.wrong,
      disorder: disorderOf(told.got),
      missing: missingOf(told.got, accepted),
      left: (await list(host.url, 'waiting')).length + failed.length,
      ms: performance.now() - began
    }
  } finally {
    host.kill()
    await told.close()
  }
}

async function accept(url, webhook) {
  const response = await fetch(`${url}/experts/quick/predict/image`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      image_id: 'a',
      url: 'ms 5',
      is_async: true,
      webhook,
      webhook_events_filter: ['start', 'completed']
    })
  })
  const { jobId } = await response.json()
  if (jobId === undefined) throw new Error(`not accepted: ${response.status}`)
  return jobId
}

async function list(url, state) {
  const answer = await fetch(`${url}/webhooks?state=${state}&limit=1000`)
  const { webhooks, detail } = await answer.json()
  if (webhooks === undefined) throw new Error(JSON.stringify(detail))
  return webhooks
}

/** Which deliveries were taken, by `webhook-id`. */
function deliveriesOf(got) {
  return new Set(got.filter(({ isTaken }) => isTaken).map(({ id }) => id))
}

/** Ends that came before the start was taken, and starts that came after the end. */
function disorderOf(got) {
  const started = new Set()
  const ended = new Set()
  const wrong = []
  for (const { payload, isTaken } of got) {
    const { event, job } = payload
    if (event === 'start' ? ended.has(job.jobId) : !started.has(job.jobId)) {
      wrong.push(`${job.jobId}: ${event}`)
    }
    if (event === 'completed') ended.add(job.jobId)
    else if (isTaken) started.add(job.jobId)
  }
  return wrong
}

/** Events of accepted jobs that were never taken. */
function missingOf(got, accepted) {
  const taken = got.filter(({ isTaken }) => isTaken)
  const came = new Set(taken.map(({ payload }) => `${payload.job.jobId} ${payload.event}`))
  return [...accepted].flatMap((id) =>
    ['start', 'completed'].map((event) => `${id} ${event}`).filter((one) => !came.has(one))
  )
}
