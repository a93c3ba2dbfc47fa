import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createHost, type Host, loadConfig } from '@nebula-experts/host'
import type { Test } from 'tap'

const FIXTURES = fileURLToPath(new URL('../fixtures/plugins/', import.meta.url))
const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))

// The test runner loads itself into every process that a test starts. That triples the cost of a start,
// and what is tested here shall run as it does for users.
const spawnHook = Symbol.for('process-on-spawn@*:singletonId')
;(globalThis as Record<symbol, { unwrap: () => void } | undefined>)[spawnHook]?.unwrap()
delete process.env.NODE_OPTIONS

/** What a test's host serves, and how it is set. */
export interface HostOptions {
  /** Names of folders under `test/fixtures/plugins`, copied into the host's plugin folder. */
  plugins?: string[]
  /** Files of further plugins: folder name → file name, with folders or without → text. */
  files?: Record<string, Record<string, string>>
  /** Does what files alone cannot (links, say), before the host starts. */
  prepare?: (home: string) => Promise<unknown>
  /** An existing home to serve, instead of a new one made of the above. */
  home?: string
  /** Contents of `experts.config.json`, beside `plugins_dir`. */
  config?: Record<string, unknown>
  env?: Record<string, string>
  /** False to return as soon as the host listens, its experts still starting. */
  awaitStart?: boolean
}

/** A folder with plugins and configuration, removed after the test. */
export async function makeHome(t: Test, options: HostOptions = {}): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'nebula-test-'))
  t.teardown(() => rm(home, { recursive: true, force: true }))
  const plugins = join(home, 'plugins')
  await mkdir(plugins)
  for (const name of options.plugins ?? []) {
    await cp(join(FIXTURES, name), join(plugins, name), { recursive: true })
  }
  for (const [folder, files] of Object.entries(options.files ?? {})) {
    for (const [name, text] of Object.entries(files)) {
      const path = join(plugins, folder, name)
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, text)
    }
  }
  const config = JSON.stringify({ plugins_dir: ['./plugins'], ...options.config })
  await writeFile(join(home, 'experts.config.json'), config)
  await options.prepare?.(home)
  return home
}

/** A small plugin of plain JavaScript: the text of its class body. */
export function plugin(name: string, body: string, before = ''): Record<string, string> {
  return {
    'package.json': JSON.stringify({
      name,
      version: '1.0.0',
      type: 'module',
      keywords: ['nebula-expert'],
      exports: './index.js'
    }),
    'index.js': `import { BaseExpert, ExpertError } from '@nebula-experts/sdk'\n${before}\nexport default class extends BaseExpert {\n${body}\n}\n`
  }
}

export interface TestHost {
  url: string
  home: string
  host: Host
}

/** Starts a host in this process, listening on a free port, and waits until its first round has ended. */
export async function startHost(t: Test, options: HostOptions = {}): Promise<TestHost> {
  const home = options.home ?? (await makeHome(t, options))
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    PORT: '0',
    HOST: '127.0.0.1',
    ...options.env
  }
  const host = await createHost({ config: loadConfig(env, home) })
  t.teardown(() => host.stop())
  if (options.awaitStart !== false) await host.started
  return { url: host.url, home, host }
}

export interface HostProcess {
  url: string
  home: string
  child: ChildProcess
  /** Every log line so far, parsed. */
  lines: Array<Record<string, unknown>>
  /** Resolves with the first line, old or new, for which `test` is true; rejects after a while. */
  line(test: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>
  /** Resolves when it has ended and its last line has been read. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Longest wait for a line of the host's log, milliseconds. */
const LINE_MS = 30_000

/** Starts `nebula-experts serve` as a process of its own and waits until its first round has ended. */
export async function spawnHost(t: Test, options: HostOptions = {}): Promise<HostProcess> {
  const home = options.home ?? (await makeHome(t, options))
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    cwd: home,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      PORT: '0',
      HOST: '127.0.0.1',
      ...options.env
    },
    stdio: ['ignore', 'pipe', 'inherit'],
    // A group of its own, so that a signal to the group does not reach the test.
    detached: true
  })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const lines: HostProcess['lines'] = []
  const waiting = new Set<() => void>()
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (text) => {
    lines.push(JSON.parse(text))
    for (const wake of waiting) wake()
  })
  const exited: HostProcess['exited'] = once(child, 'close').then(([code, signal]) => ({
    code,
    signal
  }))
  const line: HostProcess['line'] = (test) =>
    new Promise((resolve, reject) => {
      const giveUp = (why: string) => {
        waiting.delete(look)
        clearTimeout(timer)
        const last = lines.slice(-20).map((found) => JSON.stringify(found))
        reject(new Error(`No such line ${why}; the last:\n${last.join('\n')}`))
      }
      const timer = setTimeout(giveUp, LINE_MS, `in ${LINE_MS} ms`)
      const look = () => {
        const found = lines.find(test)
        if (found === undefined) return
        waiting.delete(look)
        clearTimeout(timer)
        resolve(found)
      }
      waiting.add(look)
      look()
      void exited.then(() => giveUp('before the host ended'))
    })
  const { url } = await line((found) => typeof found.url === 'string')
  if (options.awaitStart !== false) await line((found) => Array.isArray(found.active))
  return { url: url as string, home, child, lines, line, exited }
}

/** Sends JSON and reads the answer, parsed where it is JSON. */
export async function call(
  url: string,
  method: string,
  body?: unknown,
  headers: Record<string, string> = {}
): Promise<{ status: number; headers: Headers; text: string; json: any }> {
  const response = await fetch(url, {
    method,
    signal: AbortSignal.timeout(60_000),
    redirect: 'manual',
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  })
  const text = await response.text()
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    json = undefined
  }
  return { status: response.status, headers: response.headers, text, json }
}

/** True while a process of that id is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
