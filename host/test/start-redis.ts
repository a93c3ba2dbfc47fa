import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import type { Test } from 'tap'

/** A Redis of its own on a free port of loopback, that keeps what it is told over its restarts. */
export interface TestRedis {
  port: number
  url: string
  /** Starts it again, on the same port and data; resolves when it answers. */
  start(): Promise<void>
  /** Ends it as a crash does. */
  kill(): Promise<void>
  /** Stops its process, which keeps its connections, until `resume`. */
  freeze(): void
  resume(): void
  /** A client of the test's own, that ends with it. */
  client(): Redis
}

/** Starts a `redis-server` that ends with the test; everything is on disk before it answers. */
export async function startRedis(
  t: Test,
  options: { password?: string; args?: string[]; isUp?: boolean } = {}
): Promise<TestRedis> {
  const { password, args = [], isUp = true } = options
  const dir = await mkdtemp(join(tmpdir(), 'nebula-redis-'))
  const port = await freePort()
  let child: ChildProcess | null = null
  const clients: Redis[] = []
  const kill = async () => {
    const running = child
    child = null
    if (running === null) return
    running.kill('SIGKILL')
    await once(running, 'exit')
  }
  const start = async () => {
    const started = spawn(
      'redis-server',
      [
        ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
        ...['--appendonly', 'yes', '--appendfsync', 'always'],
        ...(password === undefined ? [] : ['--requirepass', password]),
        ...args
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] }
    )
    child = started
    await new Promise<void>((resolve, reject) => {
      started.once('error', reject)
      started.once('exit', () => reject(new Error('redis-server ended before it was ready')))
      createInterface({ input: started.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        if (line.includes('Ready to accept connections')) resolve()
      })
    })
  }
  t.teardown(async () => {
    for (const client of clients) client.disconnect()
    await kill()
    await rm(dir, { recursive: true, force: true })
  })
  if (isUp) await start()
  const credentials = password === undefined ? '' : `:${encodeURIComponent(password)}@`
  return {
    port,
    url: `redis://${credentials}127.0.0.1:${port}`,
    start,
    kill,
    freeze: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    client: () => {
      const client = new Redis({ port, host: '127.0.0.1', ...(password && { password }) })
      client.on('error', () => {})
      clients.push(client)
      return client
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
