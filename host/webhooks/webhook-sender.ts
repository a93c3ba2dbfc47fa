import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { signWebhook } from '@nebula-experts/sdk/hosting'
import type { WebhookDelivery, WebhookIntake, WebhookOutbox } from '../jobs/webhook-outbox.ts'
import type { Logger } from '../observe/log.ts'
import type { WebhookObserver } from '../observe/observers.ts'
import { postWebhook, type WebhookAnswer } from './post-webhook.ts'
import type { WebhookAddresses } from './webhook-addresses.ts'
import { webhookPayload } from './webhook-payload.ts'

export interface WebhookSenderOptions {
  outbox: WebhookOutbox
  addresses: WebhookAddresses
  /** Each signs; without any, deliveries are not signed. */
  secrets: readonly string[]
  /** Waits between tries, milliseconds; after the last one a delivery is given up. */
  waitsMs: readonly number[]
  /** How long one try may take, milliseconds. Default: 10 s. */
  timeoutMs?: number
  /** What may wait, bytes; beyond it no job is accepted that names a webhook. Default: 512 MiB. */
  maxWaitingBytes?: number
  /** Hears of every try. Default: nobody. */
  observer?: WebhookObserver
  log: Logger
}

/** Tries under way at once, and those of one origin; one that fails is tried one by one until it takes something. */
const MOST_FLYING = 64
const MOST_OF_ORIGIN = 8
/** The longest wait that a receiver can ask for, milliseconds. */
const MOST_WAIT_MS = 24 * 60 * 60 * 1000
/** How long what was given up is listed, milliseconds. */
const KEEP_FAILED_MS = 7 * 24 * 60 * 60 * 1000
/** Between two looks at that, milliseconds. */
const FORGET_MS = 60_000
/** What may wait; beyond it no job is accepted that names a webhook. */
const MOST_WAITING = 100_000
export const MOST_WAITING_BYTES = 512 * 1024 * 1024
const SWEEP_MS = 1000
/** How long tries that are under way may take when the host stops, milliseconds. */
const STOP_MS = 2000
const TROUBLED_ORIGINS = 10_000

/**
 * Takes what waits in the outbox to its receivers: of one job in order, of many at once, at least once. Jobs know
 * nothing of it; a receiver that hangs costs its own tries alone.
 */
export class WebhookSender implements WebhookIntake {
  readonly #options: WebhookSenderOptions
  /** Tries under way by job. */
  readonly #flying = new Map<string, Promise<void>>()
  /** How many of each origin. */
  readonly #origins = new Map<string, number>()
  /** Whose last try failed. */
  readonly #troubled = new Set<string>()
  readonly #closed = new AbortController()
  readonly #sweeper: NodeJS.Timeout
  #timer: NodeJS.Timeout | undefined
  #isLooking = false
  #looksAgain = false
  #isClosing = false
  #isFull = false
  /** The last look failed. */
  #isBlind = false
  #forgotAt = 0

  constructor(options: WebhookSenderOptions) {
    this.#options = options
    // One for each try under way.
    setMaxListeners(0, this.#closed.signal)
    options.outbox.onNotice = () => this.wake()
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
    this.wake()
    void this.#sweep()
  }

  /** As much waits as may, when it was last counted: at most a second ago. */
  get isFull(): boolean {
    return this.#isFull
  }

  /** What may wait at most. */
  get limit(): number {
    return MOST_WAITING
  }

  /** Looks at a URL before a job is accepted with it, see `WebhookAddresses.check`. */
  check(url: string): Promise<{ url: string; origin: string }> {
    return this.#options.addresses.check(url)
  }

  /** Looks for what is due now. */
  wake(): void {
    if (this.#isClosing) return
    this.#looksAgain = true
    if (!this.#isLooking) void this.#look()
  }

  /** Begins nothing more; what is under way has a moment, and is tried again by the next host if that is too short. */
  async close(): Promise<void> {
    this.#isClosing = true
    clearInterval(this.#sweeper)
    clearTimeout(this.#timer)
    const late = setTimeout(() => this.#closed.abort(), STOP_MS)
    await Promise.all(this.#flying.values())
    clearTimeout(late)
  }

  async #look(): Promise<void> {
    const { outbox, log } = this.#options
    this.#isLooking = true
    try {
      while (this.#looksAgain && !this.#isClosing) {
        this.#looksAgain = false
        const limit = MOST_FLYING - this.#flying.size
        if (limit <= 0) break
        const now = Date.now()
        const due = await outbox.claim({
          now,
          limit,
          busyJobs: [...this.#flying.keys()],
          busyOrigins: [...this.#origins.keys()].filter((origin) => this.#roomOf(origin) <= 0),
          roomOf: (origin) => this.#roomOf(origin)
        })
        if (this.#isClosing) break
        for (const delivery of due) this.#send(delivery)
        this.#wakeAt(await outbox.nextAt(now))
        if (this.#isBlind) log.info('webhooks are sent again')
        this.#isBlind = false
      }
    } catch (err) {
      // The sweep looks again, each second.
      if (!this.#isBlind) log.error({ err }, 'webhooks that wait cannot be looked at')
      this.#isBlind = true
    } finally {
      this.#isLooking = false
    }
  }

  #wakeAt(at: number | null): void {
    clearTimeout(this.#timer)
    if (at === null || this.#isClosing) return
    // Longer ones would overflow Node's timer; the sweep comes before them anyway.
    this.#timer = setTimeout(() => this.wake(), Math.min(Math.max(0, at - Date.now()), SWEEP_MS))
    this.#timer.unref()
  }

  #roomOf(origin: string): number {
    const most = this.#troubled.has(origin) ? 1 : MOST_OF_ORIGIN
    return most - (this.#origins.get(origin) ?? 0)
  }

  #send(delivery: WebhookDelivery): void {
    const { jobId, origin } = delivery
    this.#origins.set(origin, (this.#origins.get(origin) ?? 0) + 1)
    const flight = this.#try(delivery)
      .catch(async (err) => {
        // The store does not take what became of it: not tried at once again, since nobody would know.
        this.#options.log.error({ job_id: jobId, err }, 'what became of a webhook is not written')
        await pause(SWEEP_MS, null, { signal: this.#closed.signal }).catch(() => {})
      })
      .finally(() => {
        this.#flying.delete(jobId)
        const left = (this.#origins.get(origin) ?? 1) - 1
        if (left > 0) this.#origins.set(origin, left)
        else this.#origins.delete(origin)
        this.wake()
      })
    this.#flying.set(jobId, flight)
  }

  async #try(delivery: WebhookDelivery): Promise<void> {
    const { outbox, observer } = this.#options
    const answer = await this.#post(delivery).catch((error: Error) => error)
    // It was cut off by the stop: the next host tries it again.
    if (this.#closed.signal.aborted && answer instanceof Error) return
    const { status, retryAfterMs } =
      answer instanceof Error ? { status: 0, retryAfterMs: null } : answer
    if (status >= 200 && status <= 299) {
      this.#troubled.delete(delivery.origin)
      await outbox.delivered(delivery)
      observer?.webhookTried('delivered')
      return
    }
    observer?.webhookTried('failed')
    if (this.#troubled.size < TROUBLED_ORIGINS) this.#troubled.add(delivery.origin)
    const why = answer instanceof Error ? answer.message : said(status)
    const wait = status === 410 ? null : this.#waitOf(delivery)
    if (wait === null) await this.#giveUp(delivery, why)
    else {
      const asked = status === 429 || status === 503 ? (retryAfterMs ?? 0) : 0
      const at = Date.now() + Math.min(Math.max(wait, asked), MOST_WAIT_MS)
      await outbox.tryLater(delivery, at, why)
    }
  }

  async #post(delivery: WebhookDelivery): Promise<WebhookAnswer> {
    const { addresses, secrets, timeoutMs = 10_000 } = this.#options
    const late = AbortSignal.timeout(timeoutMs)
    const signal = AbortSignal.any([late, this.#closed.signal])
    try {
      const url = new URL(delivery.url)
      const allowed = await addresses.of(url, signal)
      const body = webhookPayload(delivery)
      const timestamp = Math.floor(Date.now() / 1000)
      const signature = signWebhook(delivery.id, timestamp, body, secrets)
      const headers = {
        'content-type': 'application/json',
        'user-agent': 'nebula-experts',
        'webhook-id': delivery.id,
        'webhook-timestamp': String(timestamp),
        ...(signature !== '' && { 'webhook-signature': signature })
      }
      return await postWebhook(url, { addresses: allowed, headers, body, signal })
    } catch (error) {
      throw late.aborted ? new Error(`there was no answer within ${timeoutMs} ms`) : error
    }
  }

  /** Before the next try; null after the last one. A fifth of it is chance, so that not all come back at once. */
  #waitOf({ attempts }: WebhookDelivery): number | null {
    const wait = this.#options.waitsMs[attempts]
    return wait === undefined ? null : wait * (0.8 + 0.2 * Math.random())
  }

  async #giveUp(delivery: WebhookDelivery, why: string): Promise<void> {
    const { outbox, observer, log } = this.#options
    await outbox.giveUp(delivery, Date.now(), why)
    observer?.webhookGivenUp()
    const { id, jobId, expert, event, origin, attempts } = delivery
    const fields = { webhook_id: id, job_id: jobId, expert, event, origin, attempts: attempts + 1 }
    log.warn(fields, `a webhook was given up: ${why}`)
  }

  /** What no event tells: what is due again, what may be forgotten, how much there is. */
  async #sweep(): Promise<void> {
    const { outbox, log } = this.#options
    this.wake()
    try {
      const { count, bytes } = await outbox.waiting()
      const { maxWaitingBytes = MOST_WAITING_BYTES } = this.#options
      this.#isFull = count >= MOST_WAITING || bytes >= maxWaitingBytes
      const now = Date.now()
      if (now - this.#forgotAt < FORGET_MS) return
      this.#forgotAt = now
      await outbox.forgetFailed(now - KEEP_FAILED_MS)
    } catch (err) {
      // While the store is away, that is said once, by who looks for them.
      if (!this.#isClosing && !this.#isBlind) {
        log.error({ err }, 'webhooks that wait cannot be counted')
      }
    }
  }
}

function said(status: number): string {
  const isRedirect = status >= 300 && status <= 399
  return `it answered ${status}, wanted 2xx${isRedirect ? '; redirects are not followed' : ''}`
}
