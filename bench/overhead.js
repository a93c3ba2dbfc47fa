// What the host adds to an expert that does nothing: requests/s against bare Fastify, side by side.
import { load, lone } from './load.js'
import { noop, startBare, startHost } from './servers.js'

const SECONDS = Number(process.env.BENCH_SECONDS ?? 3)
const ROUNDS = 3

export default async function overhead() {
  const servers = {
    bare: await startBare(),
    inline: await startHost([noop], { noop: { runtime: 'inline', concurrency: 64 } }),
    process: await startHost([noop], { noop: { concurrency: 64 } }),
    'process, concurrency 1': await startHost([noop], { noop: { concurrency: 1 } })
  }
  const rates = {}
  const cpu = {}
  const medians = {}
  try {
    for (const server of Object.values(servers)) await load(server, { connections: 64, seconds: 1 })
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, server] of Object.entries(servers)) {
        const result = await load(server, { connections: 64, seconds: SECONDS })
        note(rates, name, result.perSecond)
        note(cpu, name, result.cpuMicros)
      }
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, server] of Object.entries(servers)) {
        note(medians, name, await lone(server, 3000))
      }
    }
  } finally {
    for (const server of Object.values(servers)) await server.stop()
  }

  const rows = []
  const bare = median(rates.bare)
  const goals = { inline: 0.7, process: 0.5, 'process, concurrency 1': 0.35 }
  for (const name of Object.keys(servers)) {
    const ratio = median(rates[name].map((rate, i) => rate / rates.bare[i]))
    const extra = median(medians[name]) - median(medians.bare)
    rows.push({
      what: `no-op /predict, 64 in flight: ${name}`,
      value: `${Math.round(median(rates[name]))} req/s (bare ${Math.round(bare)}), host CPU ${median(cpu[name]).toFixed(1)} µs/call`,
      ratio,
      atLeast: goals[name]
    })
    if (name === 'process') {
      rows.push({
        what: 'a lone caller waits longer than at bare Fastify, ms (median)',
        value: `${median(medians[name]).toFixed(3)} against ${median(medians.bare).toFixed(3)}`,
        ratio: extra,
        atMost: 0.15
      })
    }
  }
  return rows
}

function note(figures, name, value) {
  figures[name] = [...(figures[name] ?? []), value]
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
