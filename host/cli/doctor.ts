import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfigError, loadConfig } from '../config/load-config.ts'
import { createHost, type Host } from '../host.ts'
import type { Expert } from '../registry/expert.ts'
import { memoryOf } from '../registry/process-memory.ts'
import { chaos } from './doctor-chaos.ts'
import { EXIT_CONFIG, EXIT_FAILED } from './exit-codes.ts'

/**
 * Starts one package in a host of its own, says what is wrong with it, and ends.
 * @param options.chaos - also kills, hangs and floods it, and prints how long it takes to recover
 */
export async function doctor(folder: string, options: { chaos: boolean }): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'nebula-doctor-'))
  let host: Host | null = null
  try {
    await writeFile(join(home, 'experts.config.json'), '{"plugins_dir": []}')
    const env = {
      ...process.env,
      NEBULA_CONFIG: undefined,
      NEBULA_DATA_DIR: undefined,
      NEBULA_ADMIN_KEY: undefined,
      EXPERT_DEFAULT: undefined,
      EXPERT_PLUGINS: resolve(folder),
      PORT: '0',
      HOST: '127.0.0.1'
    }
    const config = loadConfig(env, home)
    config.experts = {}
    const began = performance.now()
    host = await createHost({ config })
    await host.started
    const [expert] = host.registry.all
    if (expert === undefined || expert.state === 'WAITING') {
      refuse(`There is no package in ${resolve(folder)}: wanted a folder with a package.json`)
      return
    }
    if (expert.state !== 'ACTIVE') {
      refuse(`${expert.name} cannot be served: ${expert.reason}`)
      return
    }
    report(expert, performance.now() - began)
    if (options.chaos && !(await chaos(host, expert, say))) process.exitCode = EXIT_FAILED
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = EXIT_CONFIG
  } finally {
    await host?.stop()
    await rm(home, { recursive: true, force: true })
  }
}

function report(expert: Expert, startMs: number): void {
  const [instance] = expert.instances
  const memory = instance === undefined ? null : memoryOf(instance.pid)
  const megabytes = memory === null ? '' : `, ${Math.round(memory / 1024 / 1024)} MB of memory`
  say(`${expert.name} ${expert.version} starts: ready after ${Math.round(startMs)} ms${megabytes}`)
  const { contract } = expert
  const keys = Object.entries(expert.mirror.cfg ?? {})
  say(
    `configuration: ${keys.length === 0 ? 'none' : keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(' ')}`
  )
  say(`extra_params: ${contract?.paramsSchema === null ? 'anything' : 'checked by a schema'}`)
  const routes = contract?.routes ?? []
  say(
    `routes of its own: ${routes.length === 0 ? 'none' : routes.map((route) => route.kind).join(', ')}`
  )
  for (const route of routes) {
    if (route.response === undefined)
      say(`  ${route.kind} has no "response" schema: its docs cannot show the answer`)
    if (route.body === undefined && !route.files && ['POST', 'PUT'].includes(route.method)) {
      say(`  ${route.kind} has no "body" schema: whatever is sent reaches the expert unchecked`)
    }
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function refuse(line: string): void {
  process.stderr.write(`${line}\n`)
  process.exitCode = EXIT_FAILED
}
