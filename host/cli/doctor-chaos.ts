import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import type { Host } from '../host.ts'
import type { Expert } from '../registry/expert.ts'

const ROUNDS = 5
const FLOOD = 2000
const PATIENCE_MS = 60_000

/**
 * Kills, hangs and floods an expert that serves, and prints how it recovers.
 * @returns true when it served again after every fault
 */
export async function chaos(
  host: Host,
  expert: Expert,
  say: (line: string) => void
): Promise<boolean> {
  const answers = () => predict(host.url)
  let recovered = true
  for (const [what, signal] of [
    ['killed', 'SIGKILL'],
    ['segfault', 'SIGSEGV']
  ] as const) {
    const times: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const pid = expert.instances[0]?.pid
      if (pid === undefined) break
      process.kill(pid, signal)
      const began = performance.now()
      if (await servesAgain(expert, pid)) times.push(performance.now() - began)
      await answers()
    }
    if (times.length < ROUNDS) recovered = false
    say(`${what} ${ROUNDS} times: served again ${times.length} times${spread(times)}`)
  }

  const hung = expert.instances[0]?.pid
  if (hung !== undefined) {
    process.kill(hung, 'SIGSTOP')
    const began = performance.now()
    const back = await servesAgain(expert, hung)
    if (!back) recovered = false
    say(
      `stopped so that it hangs: ${back ? 'noticed and served again' : 'not noticed'}${spread([performance.now() - began])}`
    )
  }

  const statuses = new Map<number, number>()
  const began = performance.now()
  const flood = Array.from({ length: FLOOD }, async () => {
    const status = await predict(host.url)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  })
  await Promise.all(flood)
  const counts = [...statuses]
    .sort(([a], [b]) => a - b)
    .map(([status, count]) => `${count} × ${status}`)
  say(
    `flooded with ${FLOOD} calls at once: ${counts.join(', ')} in ${Math.round(performance.now() - began)} ms`
  )
  if (expert.state !== 'ACTIVE') recovered = false
  say(`in the end it is ${expert.state}${expert.reason === null ? '' : `: ${expert.reason}`}`)
  return recovered
}

/** Not by `fetch`: that gives a connection up after ten seconds, which a flood of a busy machine takes. */
async function predict(url: string): Promise<number> {
  try {
    const headers = { 'content-type': 'application/json' }
    const call = request(`${url}/predict`, { method: 'POST', headers })
    call.end('{"movie_id":"doctor","local":false}')
    const [response] = (await once(call, 'response')) as [IncomingMessage]
    response.resume()
    await once(response, 'end')
    return response.statusCode ?? 0
  } catch {
    return 0
  }
}

/** Waits until a process other than `pid` serves. */
async function servesAgain(expert: Expert, pid: number): Promise<boolean> {
  const limit = AbortSignal.timeout(PATIENCE_MS)
  while (!limit.aborted) {
    const [instance] = expert.instances
    if (instance !== undefined && instance.pid !== pid) return true
    await Promise.race([once(expert.changes, 'change'), once(limit, 'abort')])
  }
  return false
}

function spread(times: number[]): string {
  if (times.length === 0) return ''
  const sorted = [...times].sort((a, b) => a - b).map(Math.round)
  return `, after ${sorted.join(', ')} ms`
}
