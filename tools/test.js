// npm test: runs tap with the arguments given, and then says which tests did not run for want of a program.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const manifest = createRequire(import.meta.url).resolve('tap/package.json')
const { bin } = JSON.parse(readFileSync(manifest, 'utf8'))
const tap = join(dirname(manifest), bin.tap)

const folder = mkdtempSync(join(tmpdir(), 'nebula-tests-'))
// `skipWithout` of the SDK's test kit writes a line into it for each test that it skips.
const skipped = join(folder, 'skipped')
try {
  const { status } = spawnSync(process.execPath, [tap, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, NEBULA_TEST_SKIPPED: skipped }
  })
  process.exitCode = status ?? 1
  const counts = new Map()
  const programs = existsSync(skipped) ? readFileSync(skipped, 'utf8').trim().split('\n') : []
  for (const program of programs) counts.set(program, (counts.get(program) ?? 0) + 1)
  for (const [program, count] of counts) console.log(`not run here: ${count} (needs ${program})`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
