import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import sharp, { type Sharp } from 'sharp'
import type { Test } from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import type { MediaPolicy } from '../media/media.ts'

/** A server on loopback that knows whether anything has reached it. */
export interface Canary {
  port: number
  host: string
  connections(): number
  /** Sockets that this process has opened anywhere by plain TCP, whether or not they arrived. */
  dials: Socket[]
  /** The address of the first attempt to connect. */
  attempted: Promise<string>
  close(): Promise<void>
}

export async function startCanary(handler: RequestListener): Promise<Canary> {
  let connections = 0
  const servers: Server[] = []
  const listen = async (host: string, port: number) => {
    const server = createServer(handler)
    server.on('connection', () => connections++)
    server.listen(port, host)
    await once(server, 'listening')
    servers.push(server)
    return (server.address() as AddressInfo).port
  }
  const port = await listen('127.0.0.1', 0)
  // A machine without IPv6 has nothing there that could be reached.
  await listen('::1', port).catch(() => undefined)
  const dials: Socket[] = []
  let onAttempt = (_address: string) => {}
  const attempted = new Promise<string>((resolve) => {
    onAttempt = resolve
  })
  const onDial = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    dials.push(socket)
    socket.on('connectionAttempt', onAttempt)
  }
  subscribe('net.client.socket', onDial)
  return {
    port,
    host: `127.0.0.1:${port}`,
    connections: () => connections,
    dials,
    attempted,
    async close() {
      unsubscribe('net.client.socket', onDial)
      for (const server of servers) {
        server.closeAllConnections()
        server.close()
        await once(server, 'close')
      }
    }
  }
}

export function policy(changes: Partial<MediaPolicy> = {}): MediaPolicy {
  return {
    ...defaultMediaPolicy,
    maxBytes: 1_000_000,
    maxPixels: 1_000_000,
    timeoutMs: 10_000,
    ...changes
  }
}

/** A red picture. */
export function red(width = 8, height = 4): Sharp {
  return sharp({ create: { width, height, channels: 3, background: '#ff0000' } })
}

/** The error of work that must fail. */
export async function failure(work: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome = await work.then(
    () => new Error('it did not fail'),
    (error) => error
  )
  return outcome
}

/** One server, one folder, one way to ask it. */
export async function scene(t: Test, handler: RequestListener, changes = {}) {
  const canary = await startCanary(handler)
  t.teardown(() => canary.close())
  const folder = t.testdir({})
  const media = createMedia(policy({ allowHosts: [canary.host], ...changes }))
  const url = `http://${canary.host}/a.jpg`
  const download = (signal?: AbortSignal) => media.downloadImage(url, { folder, signal })
  const left = () => readdir(folder)
  return { canary, folder, url, download, left }
}
