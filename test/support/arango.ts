import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { until } from './until.ts'

const DOUBLE = fileURLToPath(new URL('arango-double.js', import.meta.url))
const PASSWORD = 'größe:7'

/** A database that a host and other tools share. */
export interface SharedDatabase {
  /** What a host is told of it. */
  env: Record<string, string>
  /** Writes a document as another tool does, once the host has made the collection. */
  insert(collection: string, document: Record<string, unknown>): Promise<void>
  /** Writes fields of a document; objects are merged. */
  patch(collection: string, document: Record<string, unknown> & { _key: string }): Promise<void>
  /** A document as it lies there; undefined when there is none. */
  read(collection: string, key: string): Promise<Record<string, any> | undefined>
}

/** A database in a double of ArangoDB that ends with the test. */
export async function shareDatabase(t: Test): Promise<SharedDatabase> {
  const child = spawn(process.execPath, [DOUBLE, '--password', PASSWORD], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.stdin.end()
    await exited
  })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const { url } = JSON.parse(line) as { url: string }
  const { hostname, port } = new URL(url)
  const database = 'prodemo'
  const authorization = `Basic ${Buffer.from(`root:${PASSWORD}`).toString('base64')}`
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${url}/_db/${database}/_api/document/${path}`, {
      method,
      headers: { authorization, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body)
    })
    const json = (await answer.json()) as Record<string, any>
    return { status: answer.status, json }
  }
  const write = (method: string, collection: string, document: Record<string, unknown>) =>
    until(`${method} ${collection}`, async () => {
      const { status, json } = await ask(method, collection, [document])
      if (status === 404) return undefined
      if (status >= 300 || json[0]?.error) throw new Error(JSON.stringify(json))
      return true
    })
  return {
    env: {
      ...{ ARANGO_HOST: hostname, ARANGO_PORT: port, ARANGO_DB: database },
      ...{ DEFAULT_ARANGO_USER: 'root', DEFAULT_ARANGO_PASSWORD: PASSWORD }
    },
    insert: async (collection, document) => {
      await write('POST', collection, document)
    },
    patch: async (collection, document) => {
      await write('PATCH', collection, document)
    },
    read: async (collection, key) => {
      const { status, json } = await ask('GET', `${collection}/${encodeURIComponent(key)}`)
      return status === 404 ? undefined : json
    }
  }
}
