import { randomUUID } from 'node:crypto'
import { Redis, type RedisOptions } from 'ioredis'
import { type HostError, hostError } from '../../errors.ts'
import type { Logger } from '../../observe/log.ts'
import { guaranteeOf, type RedisSettings } from './redis-guarantee.ts'
import type { RedisScript } from './redis-script.ts'
import { LOST, type RedisTrouble, troubleOf } from './redis-trouble.ts'

export interface RedisConnectionOptions {
  /** `redis://` or `rediss://`, with user, password and database. */
  url: string
  /** All that this connection will be told to run. */
  scripts: RedisScript[]
  log: Logger
  /** Before every key and channel; default: `nebula:` and the number of the database. */
  prefix?: string | undefined
  /** How long an answer may take, milliseconds; then the connection is made anew. Default: 10 s. */
  timeoutMs?: number | undefined
}

const TIMEOUT_MS = 10_000
const LONGEST_BACK_OFF_MS = 2000
/** Between two looks at a server that is there and does not work. */
const LOOK_MS = 1000
/** Between two proofs that the line on which the server tells something is not dead. */
const PING_MS = 10_000
/** By so much a clock differs from what it was when it was set, milliseconds. */
const CLOCK_STEP_MS = 50
/** How long a lost connection is not worth a word, milliseconds. */
const LOST_MS = 1000
const CLOSED = 'it is closed'
const OLDEST = 7
const ASKED = ['appendonly', 'appendfsync', 'save', 'maxmemory-policy', 'maxmemory'] as const

const nameOf = (tag: string) => `nebula-experts:${tag}`

/**
 * One server, on two connections: one on which it is asked, and one on which it tells.
 *
 * A lost connection is made again by itself, for as long as it takes; `failure` says why meanwhile, and
 * every call fails at once. A call whose answer was lost is not repeated: it may have been done.
 */
export class RedisConnection {
  /** `redis://…` without credentials. */
  readonly url: string
  readonly prefix: string
  /** Of this connection alone. */
  readonly tag = randomUUID()
  readonly subscriber: Redis
  readonly #redis: Redis
  readonly #options: RedisConnectionOptions
  readonly #timers: NodeJS.Timeout[] = []
  #whenFirstThere: () => Promise<void> = async () => {}
  #trouble: RedisTrouble | null = { kind: 'outage', why: 'there is no connection yet' }
  #error: HostError
  #guarantee = guaranteeOf({})
  /** The server's clock, when this host's steady one began. */
  #serverMs = performance.timeOrigin
  #aheadMs = 0
  #lostTimer: NodeJS.Timeout | undefined
  #preparing: Promise<void> | null = null
  #wasThere = false
  #bornAs: string | null = null
  #isClosed = false
  #isCorked = false

  private constructor(options: RedisConnectionOptions) {
    this.#options = options
    const { prefix, timeoutMs = TIMEOUT_MS } = options
    const settings: RedisOptions = {
      lazyConnect: true,
      enableOfflineQueue: false,
      // What was under way when the connection broke fails at once, and is not sent again.
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      connectTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      keepAlive: 10_000,
      connectionName: nameOf(this.tag),
      reconnectOnError: (error) => error.message.startsWith('READONLY'),
      retryStrategy: (times) =>
        // Not all hosts at the same moment.
        Math.min(LONGEST_BACK_OFF_MS, 50 * 2 ** Math.min(times, 10)) * (0.5 + Math.random() / 2)
    }
    this.#redis = new Redis(options.url, settings)
    const { host, port, db, tls, path } = this.#redis.options
    this.url = path ? `unix:${path}` : `${tls ? 'rediss' : 'redis'}://${host}:${port}/${db ?? 0}`
    this.prefix = prefix ?? `nebula:${db ?? 0}:`
    this.#error = this.#errorOf(this.#trouble as RedisTrouble)
    // A subscriber asks for nothing before it is connected, and subscribes again by itself.
    this.subscriber = new Redis(options.url, { ...settings, enableOfflineQueue: true })
    this.#redis.on('ready', () => void this.#prepare())
    this.#redis.on('close', () => {
      this.#fails({ kind: 'outage', why: LOST })
    })
    this.#redis.on('error', (error) => this.#fails(troubleOf(error)))
    // The other connection hears the same, and says it.
    this.subscriber.on('error', () => {})
  }

  /**
   * Connects. A server that does not answer is waited for in the background, since it may start later
   * than this host: `failure` says so meanwhile.
   *
   * @returns with `refusal`, why the server does not let this host in
   */
  static async open(
    options: RedisConnectionOptions
  ): Promise<{ connection: RedisConnection; refusal: string | null }> {
    const connection = new RedisConnection(options)
    await connection.#connect()
    const trouble = connection.#trouble
    return { connection, refusal: trouble?.kind === 'refused' ? trouble.why : null }
  }

  /** Why it cannot be used at the moment, or null. */
  get failure(): HostError | null {
    return this.#trouble === null ? null : this.#error
  }

  /** What accepted jobs survive, by the settings of the server. */
  get guarantee(): string {
    return this.#guarantee.text
  }

  /** By how much the server's clock is ahead of this host's, milliseconds. */
  get aheadMs(): number {
    const ahead = this.now() - Date.now()
    // The same for times that are told one after the other, until a clock is set.
    if (Math.abs(ahead - this.#aheadMs) > CLOCK_STEP_MS) this.#aheadMs = ahead
    return this.#aheadMs
  }

  /** Epoch milliseconds by the server's clock, on which all hosts agree, whatever is done to this host's. */
  now(): number {
    return performance.now() + this.#serverMs
  }

  /** Does something once, as soon as the server can be used; resolves when that is done, or is still to come. */
  async whenFirstThere(work: () => Promise<void>): Promise<void> {
    if (this.failure === null) await work()
    else this.#whenFirstThere = work
  }

  /**
   * Runs a script; `P` is given to it.
   * @throws HostError HOST_STORE_FULL, HOST_STORE_FAILED
   */
  async call<T = unknown>(script: RedisScript, args: Array<string | number>): Promise<T> {
    if (this.#trouble !== null) throw this.#errorOf(this.#trouble)
    this.#cork()
    try {
      return (await this.#redis.evalsha(script.sha, 0, this.prefix, ...args)) as T
    } catch (error) {
      // Scripts were flushed: nothing was done.
      if ((error as Error).message.startsWith('NOSCRIPT')) {
        const again = this.#redis.eval(script.lua, 0, this.prefix, ...args) as Promise<T>
        return again.catch((failure) => {
          throw this.#met(failure)
        })
      }
      throw this.#met(error)
    }
  }

  /** Of the connections of these tags those that the server has no more; none when it may not say. */
  async goneOf(tags: string[]): Promise<string[]> {
    if (tags.length === 0) return []
    const clients = await this.#redis.client('LIST').catch(() => null)
    if (clients === null) return []
    return tags.filter((tag) => !String(clients).includes(` name=${nameOf(tag)} `))
  }

  /** Another connection has this host's name. */
  tellTwin(): void {
    const why = 'its data folder was copied, or the server has not noticed yet that it ended'
    this.#options.log.warn({ redis: this.url }, `a host of this one's name is there: ${why}`)
  }

  /** Fails every call from now on: what this host needs beside the server is gone. */
  giveUp(why: string): void {
    if (this.#isClosed) return
    this.#end(why)
    this.#options.log.fatal({ redis: this.url }, `the job store cannot be used any more: ${why}`)
  }

  async close(): Promise<void> {
    this.#end(CLOSED)
    await this.#preparing
  }

  /** The server is asked nothing more, and sees that this host is gone. */
  #end(why: string): void {
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#lostTimer)
    this.#fails({ kind: 'outage', why })
    this.#isClosed = true
    for (const redis of [this.#redis, this.subscriber]) redis.disconnect()
  }

  async #connect(): Promise<void> {
    this.subscriber.connect().catch(() => {})
    try {
      await this.#redis.connect()
      await this.#preparing
    } catch {
      // What happened was an event before, and that knew more of it.
    }
    const look = setInterval(() => {
      if (this.#trouble !== null && this.#redis.status === 'ready') void this.#prepare()
    }, LOOK_MS)
    const ping = setInterval(() => {
      if (this.subscriber.status === 'ready') this.subscriber.ping().catch(() => {})
      if (this.#trouble === null) void this.#seeBirth().catch(() => {})
    }, PING_MS)
    this.#timers.push(look.unref(), ping.unref())
  }

  /** One write for all that this turn of the loop asks. */
  #cork(): void {
    if (this.#isCorked) return
    const { stream } = this.#redis
    if (!stream) return
    this.#isCorked = true
    stream.cork()
    process.nextTick(() => {
      this.#isCorked = false
      stream.uncork()
    })
  }

  /** The server answers: it is made ready for us, and asked what it keeps. */
  #prepare(): Promise<void> {
    this.#preparing ??= this.#lookAt()
      .catch((error) => this.#fails(troubleOf(error)))
      .finally(() => {
        this.#preparing = null
      })
    return this.#preparing
  }

  async #lookAt(): Promise<void> {
    const redis = this.#redis
    const { scripts, log } = this.#options
    const info = await redis.info('server')
    const version = /^redis_version:(\S+)/m.exec(info)?.[1] ?? '0'
    if (Number.parseInt(version, 10) < OLDEST) {
      const why = `it is of version ${version}, and ${OLDEST}.0 or newer is needed`
      this.#fails({ kind: 'outage', why })
      return
    }
    for (const { lua } of scripts) await redis.script('LOAD', lua)
    const settings = await this.#settings()
    // Also proves that it takes writes.
    await this.#seeBirth()
    if (this.#isClosed) return
    this.#guarantee = guaranteeOf(settings)
    const { text, isWeak } = this.#guarantee
    const fields = { redis: this.url, version, ...settings }
    log[isWeak ? 'warn' : 'info'](fields, `jobs are kept in Redis: ${text}`)
    if (this.#wasThere) log.info({ redis: this.url }, 'the job store works again')
    this.#wasThere = true
    clearTimeout(this.#lostTimer)
    this.#trouble = null
    const work = this.#whenFirstThere
    this.#whenFirstThere = async () => {}
    void work()
  }

  /** Reads the server's clock, and tells when the data is not that which was there before. */
  async #seeBirth(): Promise<void> {
    const [seconds, micros] = await this.#redis.time()
    this.#serverMs = Number(seconds) * 1000 + Number(micros) / 1000 - performance.now()
    const name = `${this.prefix}born`
    await this.#redis.set(name, randomUUID(), 'NX')
    const bornAs = await this.#redis.get(name)
    if (this.#bornAs !== null && this.#bornAs !== bornAs) {
      const { log } = this.#options
      log.error({ redis: this.url }, 'Redis has lost its data: accepted jobs are gone')
    }
    this.#bornAs = bornAs
  }

  /** A server that others manage may not tell. */
  async #settings(): Promise<RedisSettings> {
    const settings: RedisSettings = {}
    for (const name of ASKED) {
      const answer = await this.#redis.config('GET', name).catch((error) => {
        if (troubleOf(error).kind === 'outage') throw error
        return null
      })
      const value = (answer as string[] | null)?.[1]
      if (value !== undefined) settings[name] = value
    }
    return settings
  }

  /** What a failed call means for its caller, and for those after it. */
  #met(error: unknown): HostError {
    const trouble = troubleOf(error)
    if (trouble.kind !== 'outage' && trouble.kind !== 'refused') return this.#errorOf(trouble)
    this.#fails(trouble)
    return this.#error
  }

  #fails(trouble: RedisTrouble): void {
    if (this.#isClosed) return
    if (this.#trouble !== null && trouble.why === LOST) return
    const error = this.#errorOf(trouble)
    const isNews = this.#trouble === null || this.#error.message !== error.message
    this.#trouble = trouble
    this.#error = error
    if (!isNews || trouble.why === CLOSED) return
    clearTimeout(this.#lostTimer)
    const say = `the job store is away: ${error.message}`
    const tell = () => this.#options.log.warn({ redis: this.url }, say)
    // The next try to connect mostly knows why.
    if (trouble.why === LOST) this.#lostTimer = setTimeout(tell, LOST_MS).unref()
    else tell()
  }

  #errorOf({ kind, why }: RedisTrouble): HostError {
    if (kind === 'full') return hostError('HOST_STORE_FULL', [])
    const extra = { retry_after: 2 }
    return hostError('HOST_STORE_FAILED', [`Redis at ${this.url}: ${why}`], { extra })
  }
}
