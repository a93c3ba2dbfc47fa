import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type FSWatcher, watch } from 'chokidar'
import type { HostConfig } from '../config/host-config.ts'
import { ConfigError } from '../config/load-config.ts'
import type { Logger } from '../observe/log.ts'
import type { Registry } from './registry.ts'

/** How long nothing may change before a change is followed: a folder that is being copied is left alone. */
const STILL_MS = 300
/**
 * How often the folders' entries are compared. The watcher misses a folder that is renamed away while
 * another takes its name, and is deaf to it from then on.
 */
const COMPARE_MS = 1000

/**
 * Watches the plugin folders and the configuration file, and has the registry follow what changed once
 * it is still: two looks that agree, `STILL_MS` apart. One that never becomes still delays no other.
 */
export class Watch {
  readonly #registry: Registry
  readonly #config: HostConfig
  readonly #readSettings: () => HostConfig['experts']
  readonly #log: Logger
  #watcher: FSWatcher
  readonly #comparing: NodeJS.Timeout
  #entries: string | null = null
  #lastProblems = ''
  #isSettling = false
  #isAgain = false
  #isClosed = false

  constructor(options: {
    registry: Registry
    config: HostConfig
    /** Reads the configuration file anew. @throws ConfigError */
    readSettings: () => HostConfig['experts']
    log: Logger
  }) {
    this.#registry = options.registry
    this.#config = options.config
    this.#readSettings = options.readSettings
    this.#log = options.log
    this.#watcher = this.#open()
    this.#comparing = setInterval(() => void this.#compare(), COMPARE_MS)
    this.#comparing.unref()
  }

  #open(): FSWatcher {
    const { pluginDirs, configPath } = this.#config
    const folders = [...pluginDirs, ...this.#registry.foldersElsewhere]
    const watcher = watch([...folders, ...(configPath === null ? [] : [configPath])], {
      ignoreInitial: true,
      followSymlinks: true,
      // Below the folders alone: they themselves may lie in a node_modules.
      ignored: (path) => {
        const folder = folders.find((root) => path.startsWith(root)) ?? ''
        return /\/(node_modules|\.git)(\/|$)/.test(path.slice(folder.length))
      }
    })
    watcher.on('all', () => this.#stir())
    // What changed before it listened was not told; what changes from now on, the entries show.
    watcher.on('ready', () => void this.#compare().then(() => this.#stir()))
    watcher.on('error', (error) => this.#log.warn({ err: error }, 'a folder cannot be watched'))
    return watcher
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#comparing)
    await this.#watcher.close()
  }

  async #compare(): Promise<void> {
    const paths = [...this.#registry.foldersElsewhere]
    for (const root of this.#config.pluginDirs) {
      for (const name of await readdir(root).catch(() => [])) paths.push(join(root, name))
    }
    const lines: string[] = []
    for (const path of paths) {
      const info = await lstat(path).catch(() => null)
      if (info !== null) lines.push(`${path}:${info.ino}:${info.mtimeMs}`)
    }
    const entries = lines.join('\n')
    const changed = this.#entries !== null && entries !== this.#entries
    this.#entries = entries
    if (!changed || this.#isClosed) return
    // Taking a folder out of a watcher and in again leaves it deaf to what lay in it.
    void this.#watcher.close()
    this.#watcher = this.#open()
  }

  #stir(): void {
    this.#isAgain = true
    if (!this.#isSettling) void this.#settle()
  }

  async #settle(): Promise<void> {
    this.#isSettling = true
    try {
      let before = await this.#registry.survey()
      while (this.#isAgain && !this.#isClosed) {
        this.#isAgain = false
        await wait(STILL_MS)
        const now = await this.#registry.survey()
        const moving = differing(before, now)
        before = now
        if (moving.size > 0) this.#isAgain = true
        if (await this.#follow(moving)) this.#isAgain = true
      }
    } catch (error) {
      this.#log.error({ err: error }, 'the plugin folders cannot be read')
    } finally {
      this.#isSettling = false
    }
  }

  async #follow(moving: Set<string>): Promise<boolean> {
    if (this.#isClosed) return false
    let settings: HostConfig['experts'] | undefined
    try {
      settings = this.#readSettings()
      this.#lastProblems = ''
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      const { problems } = error
      const isNew = String(problems) !== this.#lastProblems
      this.#lastProblems = String(problems)
      if (isNew) {
        this.#log.error(
          { problems },
          'the changed configuration cannot be used; the old one stands'
        )
      }
    }
    return this.#registry.follow({ settings, except: moving })
  }
}

/** Names that differ between two looks. */
function differing(before: Map<string, string>, now: Map<string, string>): Set<string> {
  const names = new Set([...before.keys(), ...now.keys()])
  return new Set([...names].filter((name) => before.get(name) !== now.get(name)))
}
