// npm run bench [-- --check] [-- NAME…]: prints figures; with --check, exits 1 when one misses its goal.
import { parseArgs } from 'node:util'

const benches = {
  overhead: () => import('./overhead.js'),
  'event-loop': () => import('./event-loop.js'),
  'durable-jobs': () => import('./durable-jobs.js'),
  'redis-jobs': () => import('./redis-jobs.js'),
  'kept-jobs': () => import('./kept-jobs.js'),
  pipelines: () => import('./pipelines.js'),
  experts: () => import('./experts.js'),
  'expert-memory': async () => ({ default: (await import('./experts.js')).expertMemory })
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { check: { type: 'boolean', default: false } }
})
const chosen = positionals.length === 0 ? Object.keys(benches) : positionals
let missed = 0
for (const name of chosen) {
  const bench = benches[name]
  if (bench === undefined) {
    console.error(`There is no bench '${name}'; there are ${Object.keys(benches).join(', ')}`)
    process.exit(64)
  }
  console.log(`\n${name}`)
  for (const row of await (await bench()).default()) {
    const goal = goalOf(row)
    if (!goal.met) missed += 1
    console.log(`  ${row.what}\n    ${row.ratio.toFixed(3)}${goal.text}   ${row.value}`)
  }
}
if (values.check && missed > 0) {
  console.error(`\n${missed} missed their goal`)
  process.exit(1)
}

function goalOf({ ratio, atLeast, atMost }) {
  if (atLeast !== undefined) return { met: ratio >= atLeast, text: ` (goal: at least ${atLeast})` }
  if (atMost !== undefined) return { met: ratio <= atMost, text: ` (goal: at most ${atMost})` }
  return { met: true, text: '' }
}
