import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostConfig } from '../config/host-config.ts'
import { discover } from './discover.ts'
import { Expert, type ExpertSurroundings } from './expert.ts'

/** All experts that this host knows of, by name. */
export class Registry {
  readonly #config: HostConfig
  readonly #around: ExpertSurroundings
  readonly #byName = new Map<string, Expert>()
  // Those whose name another has: shown, never addressed.
  #nameless: Expert[] = []
  /** True once every expert's first try to start has ended. */
  firstRoundEnded = false

  constructor(
    config: HostConfig,
    around: Pick<ExpertSurroundings, 'log' | 'runDir' | 'onContract' | 'onState'>
  ) {
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

  /** Looks a name up without regard to case. */
  get(name: string): Expert | undefined {
    return this.#byName.get(name) ?? this.#byName.get(name.toLowerCase())
  }

  /** The expert that answers at the root: `EXPERT_DEFAULT`, or the only one selected. */
  get rootExpert(): Expert | null {
    const named = this.#config.defaultExpert
    if (named !== null) return this.get(named) ?? null
    const selected = [...this.#byName.values()].filter((expert) => expert.state !== 'STOPPED')
    return selected.length === 1 ? (selected[0] as Expert) : null
  }

  /** Finds every expert; none is started yet. */
  async find(): Promise<void> {
    await mkdir(this.#around.cacheDir, { recursive: true })
    for (const candidate of await discover(this.#config)) {
      const expert = new Expert(candidate, this.#around)
      const key = candidate.name.toLowerCase()
      if (this.#byName.has(key)) this.#nameless.push(expert)
      else this.#byName.set(key, expert)
      if (candidate.verdict === 'broken') {
        this.#around.log.error(
          { expert: expert.name, reason: expert.reason },
          'plugin cannot be served'
        )
      }
    }
  }

  /** Starts all that are selected, side by side: a slow one delays no other. */
  async start(): Promise<void> {
    await Promise.all([...this.#byName.values()].map((expert) => expert.start()))
    this.firstRoundEnded = true
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#byName.values()].map((expert) => expert.stop()))
  }

  /** Sets the level of every expert's own log. */
  setLogLevel(level: string): void {
    for (const expert of this.#byName.values()) expert.setLogLevel(level)
  }
}
