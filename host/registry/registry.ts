import { mkdir } from 'node:fs/promises'
import { join, sep } from 'node:path'
import type { HostConfig } from '../config/host-config.ts'
import { type Candidate, discover } from './discover.ts'
import { Expert } from './expert.ts'
import type { ExpertSurroundings } from './expert-surroundings.ts'
import { fingerprintOf } from './serving-copy.ts'

type Around = Pick<
  ExpertSurroundings,
  'log' | 'runDir' | 'prepareRoutes' | 'answer' | 'calls' | 'processes' | 'onState'
>

/** What the registry looks at to see whether an expert's package or settings changed. */
interface Seen {
  candidate: Candidate
  fingerprint: string
}

/** How long a package must be away to be gone, milliseconds. */
const GONE_AFTER_MS = 1000

/** All experts that this host knows of, by name. */
export class Registry {
  readonly #config: HostConfig
  readonly #around: ExpertSurroundings
  readonly #byName = new Map<string, Expert>()
  readonly #seen = new Map<string, Seen>()
  readonly #lastNames = new Map<string, string>()
  // Those whose name another has: shown, never addressed.
  #nameless: Expert[] = []
  readonly #missingSince = new Map<string, number>()
  #isStopping = false
  /** True once every expert's first try to start has ended. */
  firstRoundEnded = false

  constructor(config: HostConfig, around: Around) {
    this.#config = config
    this.#around = {
      ...around,
      env: config.env,
      media: config.media,
      threadPoolSize: config.threadPoolSize,
      cacheDir: join(config.dataDir, 'cache'),
      logLevel: config.logLevel
    }
  }

  /** Every expert, those that cannot be served included, in the order they were found. */
  get all(): Expert[] {
    return [...this.#byName.values(), ...this.#nameless]
  }

  /** Folders of packages that lie in none of the plugin folders: named by path, or installed. */
  get foldersElsewhere(): string[] {
    const roots = this.#config.pluginDirs.map((root) => root + sep)
    const folders = [...this.#seen.values()].flatMap(
      ({ candidate }) => candidate.source?.folder ?? []
    )
    return folders.filter((folder) => !roots.some((root) => folder.startsWith(root)))
  }

  /** Looks a name up without regard to case. */
  get(name: string): Expert | undefined {
    return this.#byName.get(name) ?? this.#byName.get(name.toLowerCase())
  }

  /** The expert that answers at the root: `EXPERT_DEFAULT`, or the only one selected. */
  get rootExpert(): Expert | null {
    const named = this.#config.defaultExpert
    if (named !== null) return this.get(named) ?? null
    let only: Expert | null = null
    for (const expert of this.#byName.values()) {
      if (expert.state === 'STOPPED') continue
      if (only !== null) return null
      only = expert
    }
    return only
  }

  /** Finds every expert; none is started yet. */
  async find(): Promise<void> {
    await mkdir(this.#around.cacheDir, { recursive: true })
    this.#take(await this.#look())
  }

  /** Starts all that are selected, side by side: a slow one delays no other. */
  async start(): Promise<void> {
    await Promise.allSettled([...this.#byName.values()].map((expert) => expert.start()))
    this.firstRoundEnded = true
  }

  /**
   * What lies in the plugin folders and stands in the configuration, by expert, as one string each: two
   * looks with the same answer mean that nothing is being written.
   */
  async survey(): Promise<Map<string, string>> {
    return new Map((await this.#look()).map((seen) => [seen.candidate.name, signature(seen)]))
  }

  /**
   * Follows what changed since the last time. Experts change side by side, each by itself.
   *
   * @param options.settings - of `experts.config.json`, when that could be read
   * @param options.except - names of those that are still being written
   * @returns true when there is something to look at again soon
   */
  async follow(options: {
    settings: HostConfig['experts'] | undefined
    except: Set<string>
  }): Promise<boolean> {
    if (this.#isStopping) return false
    if (options.settings !== undefined) this.#config.experts = options.settings
    const moving = new Set([...options.except].map((name) => name.toLowerCase()))
    const { changed, missing } = this.#take(await this.#look(), moving)
    for (const { expert, candidate, isNew } of changed) {
      this.#unwatched(expert, isNew ? expert.start() : expert.follow(candidate))
    }
    return this.#removeMissing(missing)
  }

  /** What is gone for a moment may be on its way back: only what stays away is taken down. */
  #removeMissing(missing: Map<string, Seen | null>): boolean {
    const now = performance.now()
    for (const key of this.#missingSince.keys()) {
      if (!missing.has(key)) this.#missingSince.delete(key)
    }
    let isEarly = false
    for (const [key, waiting] of missing) {
      const since = this.#missingSince.get(key) ?? now
      this.#missingSince.set(key, since)
      if (now - since < GONE_AFTER_MS) {
        isEarly = true
        continue
      }
      const { candidate } = this.#seen.get(key) as Seen
      this.#missingSince.delete(key)
      const expert = this.#byName.get(key)
      if (waiting !== null) {
        this.#seen.set(key, waiting)
        this.#unwatched(expert, expert?.follow(waiting.candidate))
        continue
      }
      this.#seen.delete(key)
      const reason = 'its package was removed'
      const gone: Candidate = { ...candidate, source: null, verdict: 'unselected', reason }
      this.#unwatched(expert, expert?.follow(gone))
    }
    return isEarly
  }

  /** Puts what lies in an expert's folder now in its place. @throws HostError with the reason */
  async reload(expert: Expert): Promise<void> {
    const key = expert.name.toLowerCase()
    const all = await this.#look()
    const seen = all.find(({ candidate }) => candidate.name.toLowerCase() === key)
    if (seen !== undefined) {
      // The watch has nothing left to follow here.
      this.#seen.set(key, seen)
      expert.notice(seen.candidate)
    }
    await expert.reload()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all([...this.#byName.values()].map((expert) => expert.stop()))
  }

  /** Sets the level of every expert's own log. */
  setLogLevel(level: string): void {
    this.#around.logLevel = level
    for (const expert of this.#byName.values()) expert.setLogLevel(level)
  }

  /** Folders by the names that they had when they were last looked at. */
  get #owners(): Map<string, string> {
    const owners = new Map<string, string>()
    for (const [key, { candidate }] of this.#seen) {
      if (candidate.source !== null) owners.set(key, candidate.source.folder)
    }
    return owners
  }

  /** A change that nobody waits for: what goes wrong in it is told, and ends nothing. */
  #unwatched(expert: Expert | undefined, work: Promise<void> | undefined): void {
    work?.catch((error) => {
      this.#around.log.error({ expert: expert?.name, err: error }, 'a change went wrong')
    })
  }

  async #look(): Promise<Seen[]> {
    const candidates = await discover({ ...this.#config, lastNames: this.#lastNames }, this.#owners)
    for (const { name, source } of candidates) {
      if (source !== null) this.#lastNames.set(source.folder, name)
    }
    return Promise.all(
      candidates.map(async (candidate) => ({
        candidate,
        fingerprint: candidate.source === null ? '' : await fingerprintOf(candidate.source)
      }))
    )
  }

  /** Remembers what was seen; gives the experts that are new or changed, and the names that are gone. */
  #take(all: Seen[], moving = new Set<string>()): Taken {
    const changed: Change[] = []
    const missing: Taken['missing'] = new Map()
    const names = new Set<string>()
    this.#nameless = []
    for (const seen of all) {
      const { candidate } = seen
      const key = candidate.name.toLowerCase()
      if (names.has(key)) {
        this.#nameless.push(new Expert(candidate, this.#around))
        continue
      }
      names.add(key)
      if (moving.has(key)) continue
      const known = this.#byName.get(key)
      const last = this.#seen.get(key)
      if (candidate.verdict === 'waiting' && last !== undefined && last.candidate.source !== null) {
        missing.set(key, seen)
        continue
      }
      this.#seen.set(key, seen)
      if (known === undefined) {
        const expert = new Expert(candidate, this.#around)
        this.#byName.set(key, expert)
        changed.push({ expert, candidate, isNew: true })
        if (candidate.verdict === 'broken') {
          const { name, reason } = expert
          this.#around.log.error({ expert: name, reason }, 'plugin cannot be served')
        }
      } else if (last === undefined || signature(last) !== signature(seen)) {
        changed.push({ expert: known, candidate, isNew: false })
      }
    }
    for (const key of this.#seen.keys()) {
      if (!names.has(key) && !moving.has(key)) missing.set(key, null)
    }
    return { changed, missing }
  }
}

interface Taken {
  changed: Change[]
  /** Those whose package is away, with the entry that goes on waiting for it where there is one. */
  missing: Map<string, Seen | null>
}

interface Change {
  expert: Expert
  candidate: Candidate
  isNew: boolean
}

function signature({ candidate, fingerprint }: Seen): string {
  const { verdict, reason, settings, required, source } = candidate
  return JSON.stringify([
    verdict,
    reason,
    settings,
    required,
    source?.folder,
    source?.version,
    fingerprint
  ])
}
