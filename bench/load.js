import autocannon from 'autocannon'
import { cpuOf } from './servers.js'

const body = JSON.stringify({ movie_id: 'Movies/92363371', local: false })

/** Sends `/predict` for some seconds with so many in flight; every answer must be 200. */
export async function load(server, { connections, seconds, pid = server.pid }) {
  const cpu = cpuOf(pid)
  const result = await autocannon({
    url: `${server.url}/predict`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    connections,
    duration: seconds
  })
  const bad = result.errors + result.non2xx
  if (bad > 0) throw new Error(`${bad} of ${result.requests.total} answers were not 200`)
  return {
    perSecond: result.requests.total / result.duration,
    cpuMicros: ((cpuOf(pid) - cpu) * 1000) / result.requests.total
  }
}

/** Median time of one call after another, milliseconds. */
export async function lone(server, calls) {
  const { request, Agent } = await import('node:http')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const times = []
  const one = () =>
    new Promise((resolve, reject) => {
      const began = performance.now()
      const sent = request(
        `${server.url}/predict`,
        {
          agent,
          method: 'POST',
          headers: { 'content-type': 'application/json', 'content-length': body.length }
        },
        (response) => {
          response.resume()
          response.on('end', () => {
            times.push(performance.now() - began)
            resolve()
          })
        }
      )
      sent.on('error', reject)
      sent.end(body)
    })
  for (let i = 0; i < calls; i++) await one()
  agent.destroy()
  times.sort((a, b) => a - b)
  return times[Math.floor(times.length / 2)]
}
