import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const DOUBLE = fileURLToPath(new URL('../test/support/arango-double.js', import.meta.url))

/** The double of ArangoDB that the tests use, as a process of its own; it counts what it gets. */
export async function startDouble() {
  const double = spawn(process.execPath, [DOUBLE], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: double.stdout }), 'line')
  const { url, admin } = JSON.parse(line)
  return {
    /** What makes a host use it. */
    env: { ARANGO_HOST: url },
    /** Bytes that it received, and characters of documents written by collection, since the last look. */
    traffic: async () => (await fetch(`${admin}/traffic`)).json(),
    stop: async () => {
      double.stdin.end()
      await once(double, 'exit')
    }
  }
}
