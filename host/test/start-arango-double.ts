import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const DOUBLE = fileURLToPath(new URL('../../test/support/arango-double.js', import.meta.url))

/** A double of ArangoDB in a process of its own, that ends with this one. */
export async function startArangoDouble() {
  const double = spawn(process.execPath, [DOUBLE, '--password', 'größe:7'], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const exited = once(double, 'exit')
  const [line] = await once(createInterface({ input: double.stdout }), 'line')
  const { url, admin } = JSON.parse(line) as { url: string; admin: string }
  const { hostname, port } = new URL(url)
  const order = async (path: string, body?: object) => {
    const asked = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    const answer = await fetch(`${admin}${path}`, asked)
    if (!answer.ok) throw new Error(`the double refused ${path}: ${await answer.text()}`)
    return answer.json()
  }
  return {
    server: { host: hostname, port: Number(port), user: 'root', password: 'größe:7' },
    /** The next requests that fit go wrong. */
    fault: (fault: {
      fault: string
      times?: number
      method?: string
      path?: string
      ms?: number
    }): Promise<unknown> => order('/faults', fault),
    /** No fault is left. */
    calm: (): Promise<unknown> => order('/calm', {}),
    /** Whether connections are taken. */
    listening: (on: boolean): Promise<unknown> => order('/listening', { on }),
    addUser: (name: string, password: string, grants: object): Promise<unknown> =>
      order('/users', { name, password, grants }),
    drop: (database: string, collection?: string): Promise<unknown> =>
      order('/drop', { database, collection }),
    /** What was asked since this was asked for last. */
    requests: (): Promise<string[]> => order('/requests') as Promise<string[]>,
    stop: async () => {
      double.stdin.end()
      await exited
    }
  }
}
