import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const DOUBLE = fileURLToPath(new URL('../support/arango-double.js', import.meta.url))

/**
 * Starts a double of ArangoDB whose process is added to `children`.
 * @returns what a host is told of it
 */
export async function startArangoDouble(children) {
  const double = spawn(process.execPath, [DOUBLE], { stdio: ['pipe', 'pipe', 'inherit'] })
  children.add(double)
  const [line] = await once(createInterface({ input: double.stdout }), 'line')
  const { hostname, port } = new URL(JSON.parse(line).url)
  return { ARANGO_HOST: hostname, ARANGO_PORT: port, ARANGO_DB: 'chaos' }
}
