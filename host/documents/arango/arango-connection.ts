import { setTimeout as pause } from 'node:timers/promises'
import { Database } from 'arangojs'
import { type HostError, hostError } from '../../errors.ts'
import type { Logger } from '../../observe/log.ts'
import { type ArangoCollection, arangoCollections } from './arango-collections.ts'
import { ArangoTrouble, troubleOf } from './arango-trouble.ts'

/** Where the database is, and who we are there. */
export interface ArangoOptions {
  /** Host name, address, or `http://` or `https://` with one of these; credentials in it are ignored. */
  host: string
  /** Where `host` does not say one. */
  port: number
  database: string
  user: string
  password: string
  log: Logger
  /** Tries of what may be repeated, the first among them. */
  tries?: number
  /** Milliseconds before the second try; each later wait is twice as long, at most two seconds. */
  backOffMs?: number
  /** Milliseconds between two looks whether the server answers. */
  pingMs?: number
  /** Milliseconds that a request may take; what took longer with all its tries is not tried again. */
  timeoutMs?: number
}

const MAX_BACK_OFF_MS = 2000
const REQUEST_TIMEOUT_MS = 30_000
const MAX_REQUESTS_AT_ONCE = 8

/**
 * One server's database, shared by all stores.
 *
 * A lost connection is met by trying again; when that did not help, `failure` says why, until the server
 * answers again. What it says is made here, from codes: the driver's own errors know the credentials.
 */
export class ArangoConnection {
  readonly #options: Omit<ArangoOptions, 'password'>
  readonly #url: string
  readonly #db: Database
  readonly #log: Logger
  readonly #closing = new AbortController()
  /** Database, collections and indexes are there; undefined until that was seen. */
  #prepared: Promise<void> | undefined
  #outage: { trouble: ArangoTrouble; error: HostError } | null = null
  #pinging: Promise<void> = Promise.resolve()

  private constructor(options: ArangoOptions) {
    const { password, ...others } = options
    const { host, port, database, user, log, timeoutMs = REQUEST_TIMEOUT_MS } = others
    this.#options = others
    this.#url = urlOf(host, port)
    this.#log = log
    // The driver's own way takes only Latin letters in a password.
    const credentials = Buffer.from(`${user}:${password}`).toString('base64')
    this.#db = new Database({
      url: this.#url,
      databaseName: database,
      fetchOptions: { headers: { authorization: `Basic ${credentials}` } },
      maxRetries: false,
      poolSize: MAX_REQUESTS_AT_ONCE,
      timeout: timeoutMs
    })
  }

  /**
   * Connects, and makes what is missing. A server that does not answer is waited for in the background,
   * since it may start later than this host: `failure` says so meanwhile.
   *
   * @throws HostError HOST_DOCUMENTS_FAILED when the user is refused, or may not make what is missing
   */
  static async open(options: ArangoOptions): Promise<ArangoConnection> {
    const connection = new ArangoConnection(options)
    try {
      await connection.run((db) => db.version(), { isRepeatable: true })
    } catch (error) {
      if (connection.#outage?.trouble.isPassing !== true) {
        await connection.close()
        throw error
      }
    }
    connection.#pinging = connection.#keepPinging()
    return connection
  }

  /** Why the database cannot be used at the moment, or null. */
  get failure(): Error | null {
    return this.#outage?.error ?? null
  }

  /**
   * Does some work with the database.
   *
   * @param options.isRepeatable - whether the work may be done again when it is unknown if it was done
   * @throws HostError HOST_DOCUMENTS_FAILED; what else the work throws
   */
  async run<T>(
    work: (db: Database) => Promise<T>,
    { isRepeatable }: { isRepeatable: boolean }
  ): Promise<T> {
    const { tries = 5, timeoutMs = REQUEST_TIMEOUT_MS } = this.#options
    const begun = performance.now()
    for (let count = 1; ; count++) {
      if (this.#closing.signal.aborted) throw this.#failed('it is closed')
      // What prepares may be repeated, whatever the work is.
      let isBegun = false
      try {
        await this.#prepare()
        isBegun = true
        const result = await work(this.#db)
        this.#isBack()
        return result
      } catch (error) {
        const trouble = troubleOf(error)
        if (trouble === undefined) throw error
        const mayRepeat = trouble.isUndone || isRepeatable || !isBegun
        const isOver = count >= tries || performance.now() - begun > timeoutMs
        if (!trouble.isPassing || !mayRepeat || isOver) throw this.#fails(trouble)
        await this.backOff(count + 1)
      }
    }
  }

  /** Waits about so long before the `count`th try; not when the connection is closed meanwhile. */
  async backOff(count: number): Promise<void> {
    const { backOffMs = 100 } = this.#options
    const ms = Math.min(MAX_BACK_OFF_MS, backOffMs * 2 ** (count - 2))
    try {
      // Not all at the same moment.
      await pause(ms * (0.5 + Math.random()), undefined, { signal: this.#closing.signal })
    } catch {
      // Closed: whoever waits is told by what it does next.
    }
  }

  /** Ends what is under way, with an error. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#db.close()
    await this.#pinging
  }

  #isBack(): void {
    if (this.#outage === null) return
    this.#outage = null
    this.#log.info({ url: this.#url }, 'the document store works again')
  }

  /** The error for the caller; when nothing else will work either, it is also the `failure`. */
  #fails(trouble: ArangoTrouble): HostError {
    const { user, database } = this.#options
    const whom = trouble.isRefusal ? `user '${user}' was refused in '${database}': ` : ''
    const error = this.#failed(`${whom}${trouble.message}`)
    if (trouble.isMissing) this.#prepared = undefined
    if (!trouble.isOutage || this.#closing.signal.aborted) return error
    if (this.#outage?.error.message !== error.message) {
      this.#log.warn({ url: this.#url }, `the document store is away: ${error.message}`)
    }
    this.#outage = { trouble, error }
    return error
  }

  #failed(why: string): HostError {
    return hostError('HOST_DOCUMENTS_FAILED', [`ArangoDB at ${this.#url}: ${why}`])
  }

  async #keepPinging(): Promise<void> {
    const { pingMs = 5000 } = this.#options
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        await pause(pingMs, undefined, { signal, ref: false })
        await this.#prepare()
        await this.#db.version()
        this.#isBack()
      } catch (error) {
        const trouble = troubleOf(error)
        if (trouble !== undefined) this.#fails(trouble)
      }
    }
  }

  /** One for all who come before it is done; again after a failure. */
  #prepare(): Promise<void> {
    this.#prepared ??= this.#makeMissing().catch((error) => {
      this.#prepared = undefined
      throw error
    })
    return this.#prepared
  }

  async #makeMissing(): Promise<void> {
    const { database, user } = this.#options
    if (!(await this.#db.exists())) {
      await this.#make(`the database '${database}'`, () =>
        this.#db.database('_system').createDatabase(database, [{ username: user }])
      )
    }
    for (const collection of arangoCollections) await this.#makeCollection(collection)
  }

  async #makeCollection({ name, indexes }: ArangoCollection): Promise<void> {
    const collection = this.#db.collection(name)
    if (!(await collection.exists())) {
      await this.#make(`the collection '${name}'`, () => collection.create())
    }
    const found = (await collection.indexes()).map((index) => JSON.stringify(index.fields))
    for (const fields of indexes) {
      if (found.includes(JSON.stringify(fields))) continue
      try {
        await collection.ensureIndex({ type: 'persistent', fields: [...fields] })
      } catch (error) {
        if (!troubleOf(error)?.isRefusal) throw error
        // Without it all works, slower.
        const of = { url: this.#url, collection: name, fields }
        this.#log.warn(of, 'an index is missing, and the user may not make it')
      }
    }
  }

  async #make(what: string, make: () => Promise<unknown>): Promise<void> {
    try {
      await make()
    } catch (error) {
      const trouble = troubleOf(error)
      // Another host was faster.
      if (trouble?.isDuplicate) return
      if (!trouble?.isRefusal) throw error
      throw new ArangoTrouble(`${what} is missing, and may not be made`, {
        isRefusal: true,
        isOutage: true
      })
    }
  }
}

/** Without the credentials that a URL may have: it is told in errors. */
function urlOf(host: string, port: number): string {
  const hasScheme = /^https?:\/\//.test(host)
  const name = host.includes(':') && !hasScheme && !host.startsWith('[') ? `[${host}]` : host
  const url = new URL(hasScheme ? host : `http://${name}`)
  // A URL drops the port that its scheme has anyway.
  const given = /:(\d+)\/?$/.exec(host)?.[1]
  return `${url.protocol}//${url.hostname}:${hasScheme && given !== undefined ? given : port}`
}
