// npm run chaos [-- NAME…]: faults under load, bounded in count and time. Prints its figures; exits 1 when
// a promise is broken. Too long for npm test.
const scenarios = {
  'replace-under-load': () => import('./replace-under-load.js'),
  'random-faults': () => import('./random-faults.js'),
  'manage-storm': () => import('./manage-storm.js'),
  'reload-memory': () => import('./reload-memory.js'),
  'host-kills': () => import('./host-kills.js'),
  'pipeline-kills': () => import('./pipeline-kills.js'),
  'redis-kills': () => import('./redis-kills.js'),
  'redis-away': () => import('./redis-away.js'),
  'shared-kills': () => import('./shared-kills.js'),
  'webhook-kills': () => import('./webhook-kills.js'),
  'power-loss': () => import('./power-loss.js')
}

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(scenarios)
let broken = 0
for (const name of chosen) {
  const scenario = scenarios[name]
  if (scenario === undefined) {
    console.error(`There is no scenario '${name}'; there are ${Object.keys(scenarios).join(', ')}`)
    process.exit(64)
  }
  console.log(`\n${name}`)
  const began = performance.now()
  for (const { what, found, kept } of await (await scenario()).default()) {
    if (!kept) broken += 1
    console.log(`  ${kept ? 'kept  ' : 'BROKEN'} ${what}: ${found}`)
  }
  console.log(`  ${((performance.now() - began) / 1000).toFixed(1)} s`)
}
if (broken > 0) {
  console.error(`\n${broken} promises broken`)
  process.exit(1)
}
