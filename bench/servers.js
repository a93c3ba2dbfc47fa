import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const path = (name) => fileURLToPath(new URL(name, import.meta.url))

/** Starts a server as a process of its own and reads from its first lines where it listens. */
async function start(args, options) {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  const lines = createInterface({ input: child.stdout })
  let url = null
  for await (const [text] of on(lines)) {
    const line = JSON.parse(text)
    url ??= line.url ?? null
    if (url !== null && Array.isArray(line.active)) break
  }
  child.stdout.resume()
  return {
    url,
    pid: child.pid,
    stop: async () => {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
  }
}

async function* on(lines) {
  for await (const line of lines) yield [line]
}

/** Fastify alone. */
export const startBare = () => start([path('bare-server.js')])

/** A host with the given plugins, by folder, and settings for each. */
export async function startHost(plugins, experts, env = {}) {
  const home = await mkdtemp(join(tmpdir(), 'nebula-bench-'))
  await writeFile(join(home, 'experts.config.json'), JSON.stringify({ experts }))
  const server = await start([path('../host/dist/main.js'), 'serve', ...plugins], {
    cwd: home,
    env: { ...process.env, PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'info', ...env }
  })
  return {
    ...server,
    stop: async () => {
      await server.stop()
      await rm(home, { recursive: true, force: true })
    }
  }
}

/** CPU time a process has used, milliseconds. */
export function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

export const noop = path('fixtures/noop')
/** Holds movies named `hold` until a file is there. */
export const gated = path('fixtures/gated')
/** Takes the movies of a pipeline and does nothing. */
export const movies = path('fixtures/movies')
