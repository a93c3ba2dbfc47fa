import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))

/** A host in a process of its own, with an empty plugin folder at `plugins`. */
export async function startChaosHost({ experts = {}, plugins = {}, nodeArgs = [], env = {} } = {}) {
  const home = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const folder = join(home, 'plugins')
  for (const [name, body] of Object.entries(plugins))
    await writePlugin(join(folder, name), name, '1.0.0', body)
  await writeHome(home, {}, experts)
  const host = await startOn(home, { nodeArgs, env: { LOG_LEVEL: 'info', ...env } })
  return {
    ...host,
    home,
    folder,
    stop: async () => {
      host.child.kill('SIGTERM')
      await host.exited
      await rm(home, { recursive: true, force: true })
      return host.child.exitCode
    }
  }
}

/** Writes what a host serves: the files of each plugin by its folder, and the experts' settings. */
export async function writeHome(home, plugins, experts) {
  await mkdir(join(home, 'plugins'), { recursive: true })
  for (const [name, files] of Object.entries(plugins)) {
    const folder = join(home, 'plugins', name)
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text)
  }
  const config = JSON.stringify({ plugins_dir: ['./plugins'], experts })
  await writeFile(join(home, 'experts.config.json'), config)
}

/**
 * A host that serves what the home has; resolves when its first round of starts has ended. `logged` says how many
 * lines it has written so far.
 * @param options.children - a set that has its process in it for as long as that runs
 */
export async function startOn(home, { nodeArgs = [], env = {}, children } = {}) {
  const { PATH, HOME } = process.env
  const child = spawn(process.execPath, [...nodeArgs, MAIN, 'serve'], {
    cwd: home,
    env: { PATH, HOME, PORT: '0', HOST: '127.0.0.1', ...env },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  children?.add(child)
  const exited = once(child, 'close').then(() => children?.delete(child))
  let logged = 0
  const url = await new Promise((resolve, reject) => {
    let found
    createInterface({ input: child.stdout }).on('line', (text) => {
      logged += 1
      const line = JSON.parse(text)
      found ??= line.url
      if (Array.isArray(line.active)) resolve(found)
    })
    void exited.then(() => reject(new Error('the host ended before it served')))
  })
  const kill = () => child.kill('SIGKILL')
  return { url, pid: child.pid, child, exited, kill, logged: () => logged }
}

/** Writes a plugin of plain JavaScript: `body` is the body of its class. */
export async function writePlugin(folder, name, version, body) {
  await mkdir(folder, { recursive: true })
  const manifest = {
    name,
    version,
    type: 'module',
    keywords: ['nebula-expert'],
    exports: './index.js'
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  await writeFile(
    join(folder, 'index.js'),
    `import { BaseExpert } from '@nebula-experts/sdk'\nexport default class extends BaseExpert {\n${body}\n}\n`
  )
}

const agent = new Agent({ keepAlive: true, maxSockets: 512 })

/** One request; a socket error is status 0. */
export function send(url, method, body) {
  return new Promise((resolve) => {
    const text = body === undefined ? '' : JSON.stringify(body)
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text)
    }
    const sent = request(url, { method, agent, headers }, (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        answer += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode, text: answer }))
      response.on('error', (error) => resolve({ status: 0, text: String(error) }))
    })
    sent.on('error', (error) => resolve({ status: 0, text: String(error) }))
    sent.end(text)
  })
}

export const predict = (url, name) =>
  send(`${url}/experts/${name}/predict`, 'POST', { movie_id: '1', local: false })

/** Sends at a fixed rate whatever the answers do; counts answers by status, and keeps what each said. */
export function openLoop(perSecond, sendOne) {
  const statuses = new Map()
  const seen = new Set()
  const bad = []
  const flying = new Set()
  let count = 0
  const began = performance.now()
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - began) * perSecond) / 1000)
    while (count < due) {
      count += 1
      const one = sendOne().then(({ status, text }) => {
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        if (status === 200) seen.add(text)
        else if (bad.length < 5) bad.push(`${status} ${text.slice(0, 200)}`)
        flying.delete(one)
      })
      flying.add(one)
    }
  }, 5)
  return {
    statuses,
    seen,
    bad,
    stop: async () => {
      clearInterval(timer)
      await Promise.all(flying)
    }
  }
}

export async function experts(url) {
  return JSON.parse((await send(`${url}/experts`, 'GET')).text)
}

/** Polls until `test` gives something, at most so long. */
export async function until(test, limitMs = 30_000) {
  const end = performance.now() + limitMs
  for (;;) {
    const found = await test()
    if (found) return found
    if (performance.now() > end) return null
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Ids of the processes whose parent is `pid`. */
export function childrenOf(pid) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return (
          Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1].split(' ')[1]) === pid
        )
      } catch {
        return false
      }
    })
    .map(Number)
}

export const descriptorsOf = (pid) => readdirSync(`/proc/${pid}/fd`).length

export function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

export function percentile(values, part) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}
