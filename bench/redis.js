import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/**
 * A Redis of its own on a free port of loopback, that keeps what it is told.
 * @param appendfsync - `always`: on disk before it answers; `everysec`: a second later
 * @returns null when there is no redis-server on this machine
 */
export async function startRedis(appendfsync) {
  const dir = await mkdtemp(join(tmpdir(), 'nebula-bench-redis-'))
  const port = await freePort()
  const args = [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
    ...['--appendonly', 'yes', '--appendfsync', appendfsync]
  ]
  let child
  const start = () => {
    child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
    return new Promise((resolve, reject) => {
      child.once('error', (error) => (error.code === 'ENOENT' ? resolve(false) : reject(error)))
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.includes('Ready to accept connections')) resolve(true)
      })
    })
  }
  const end = async (signal) => {
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }
  const remove = () => rm(dir, { recursive: true, force: true })
  if (!(await start())) {
    await remove()
    return null
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    /** Ends it as a crash does, until `start`. */
    kill: () => end('SIGKILL'),
    start,
    /** Stops its process, which keeps its connections and answers nothing, until `resume`. */
    freeze: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    stop: async () => {
      // A stopped process does not hear of its end.
      child.kill('SIGCONT')
      if (child.exitCode === null && child.signalCode === null) await end('SIGTERM')
      await remove()
    }
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
