// 32 clients add, replace and remove the same and different plugins, 500 operations in all: only
// documented errors, and ready at the end.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { experts, send, startChaosHost, until, writePlugin } from './chaos-host.js'

const CLIENTS = 32
const OPERATIONS = 500
const names = ['alpha', 'beta', 'gamma', 'delta']
const body = (mark) => `async predict () { return { mark: ${mark} } }`

export default async function manageStorm() {
  const plugins = Object.fromEntries(names.map((name) => [name, body(0)]))
  const host = await startChaosHost({ plugins })
  const statuses = new Map()
  const undocumented = []
  let done = 0
  const work = async () => {
    while (done < OPERATIONS) {
      done += 1
      const name = names[Math.floor(Math.random() * names.length)]
      const action = ['load', 'unload', 'reload', 'restart', 'write', 'remove'][
        Math.floor(Math.random() * 6)
      ]
      if (action === 'write') {
        await writePlugin(join(host.folder, name), name, `1.0.${done}`, body(done)).catch(() => {})
      } else if (action === 'remove') {
        await rm(join(host.folder, name), { recursive: true, force: true }).catch(() => {})
      } else {
        const { status, text } = await send(`${host.url}/manage/experts/${name}/${action}`, 'POST')
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        const code = status === 200 ? null : (JSON.parse(text || '{}').code ?? 'none')
        if (![200, 404, 409, 503].includes(status) || (status !== 200 && !/^HOST_/.test(code))) {
          undocumented.push(`${action} ${name}: ${status} ${text.slice(0, 120)}`)
        }
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: CLIENTS }, work))
    for (const name of names) await writePlugin(join(host.folder, name), name, '9.0.0', body(9))
    const loaded = async () => {
      for (const name of names) await send(`${host.url}/manage/experts/${name}/load`, 'POST')
      const all = await experts(host.url)
      return names.every((name) => {
        const expert = all.find((other) => other.name === name)
        return expert?.status === 'ACTIVE' && expert.version === '9.0.0'
      })
    }
    const active = await until(loaded, 60_000)
    const { status } = await send(`${host.url}/health/ready`, 'GET')
    const counts = [...statuses].map(([code, n]) => `${n} × ${code}`).join(', ')
    const all = (await experts(host.url)).map(
      (expert) => `${expert.name} ${expert.version} ${expert.status}`
    )
    return [
      {
        what: `${OPERATIONS} operations of ${CLIENTS} clients`,
        found: `${counts}; ${undocumented[0] ?? 'every error documented'}`,
        kept: undocumented.length === 0
      },
      {
        what: 'in the end',
        found: `ready ${status}; ${all.join(', ')}`,
        kept: active === true && status === 200
      }
    ]
  } finally {
    await host.stop()
  }
}
