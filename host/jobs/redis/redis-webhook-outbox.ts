import { chooseDue } from '../choose-due.ts'
import type { WebhookEvent } from '../job.ts'
import type {
  WebhookClaim,
  WebhookDelivery,
  WebhookNotice,
  WebhookOutbox,
  WebhookState
} from '../webhook-outbox.ts'
import type { RedisConnection } from './redis-connection.ts'
import {
  CLAIM_NOTICES,
  DELIVERED,
  FORGET_FAILED,
  FORGOTTEN_AT_ONCE,
  GIVE_UP,
  LET_GO,
  LIST_NOTICES,
  LOOK_DUE,
  NOTICE_FIELDS,
  READ_NOTICE,
  RETRY,
  TRY_LATER,
  WAITING_NOTICES
} from './redis-webhook-scripts.ts'
import { storedJob } from './stored-job.ts'

type Row = Array<string | null>

/** Where in an id its place among all notices stands, which grows with time. */
const PLACE = /^msg_(\d{16})[0-9a-f]{12}$/

/**
 * The outbox of all hosts that share a Redis; `RedisJobRecords` fills it. A host that dies loses its claims when
 * their lease ends. Times are the server's in Redis, and this host's in what is given and taken here.
 */
export class RedisWebhookOutbox implements WebhookOutbox {
  onNotice: () => void = () => {}
  readonly #redis: RedisConnection

  constructor(redis: RedisConnection) {
    this.#redis = redis
  }

  async claim(claim: WebhookClaim): Promise<WebhookDelivery[]> {
    const { now, busyJobs, busyOrigins } = claim
    const { tag } = this.#redis
    const time = this.#toServer(now)
    const due = await this.#redis.call<string[]>(LOOK_DUE, [
      ...[time, tag, JSON.stringify(busyOrigins), JSON.stringify(busyJobs)]
    ])
    const found: Array<{ id: string; origin: string; jobId: string; at: number }> = []
    for (let at = 0; at < due.length; at += 4) {
      const [id, origin, jobId, next] = due.slice(at, at + 4) as [string, string, string, string]
      found.push({ id, origin, jobId, at: Number(next) })
    }
    found.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1))
    const chosen = chooseDue(found, claim).map(({ id }) => id)
    if (chosen.length === 0) return []
    // Another host may have been faster with some of them.
    const rows = await this.#redis.call<Row[]>(CLAIM_NOTICES, [time, tag, ...chosen])
    return rows.map((row) => this.#deliveryOf(row))
  }

  async nextAt(now: number): Promise<number | null> {
    const [next] = await this.#waiting(now)
    return next === '' ? null : this.#fromServer(next)
  }

  async delivered({ id }: WebhookNotice): Promise<void> {
    await this.#redis.call(DELIVERED, [this.#toServer(Date.now()), id])
  }

  async tryLater(notice: WebhookNotice, at: number, error: string): Promise<void> {
    const now = this.#toServer(Date.now())
    const args = [now, this.#toServer(at), ...this.#tried(notice), error]
    await this.#redis.call(TRY_LATER, args)
  }

  async giveUp(notice: WebhookNotice, now: number, error: string): Promise<void> {
    await this.#redis.call(GIVE_UP, [this.#toServer(now), ...this.#tried(notice), error])
  }

  async retry(id: string, now: number): Promise<boolean> {
    return (await this.#redis.call(RETRY, [this.#toServer(now), id])) === 1
  }

  async list(query: {
    state: WebhookState
    after?: string
    limit: number
  }): Promise<WebhookNotice[]> {
    const { state, after, limit } = query
    const place = after === undefined ? '0' : PLACE.exec(after)?.[1]
    if (place === undefined) return []
    const rows = await this.#redis.call<Row[]>(LIST_NOTICES, [state, Number(place), limit])
    return rows.map((row) => this.#noticeOf(row, row.at(-1) as string))
  }

  async get(id: string): Promise<WebhookNotice | undefined> {
    const row = await this.#redis.call<Row>(READ_NOTICE, [id])
    return row[0] === null ? undefined : this.#noticeOf([id, ...row], row.at(-1) as string)
  }

  async waiting(): Promise<{ count: number; bytes: number }> {
    const [, count, bytes] = await this.#waiting(Date.now())
    return { count, bytes }
  }

  async forgetFailed(before: number): Promise<void> {
    for (;;) {
      const gone: number = await this.#redis.call(FORGET_FAILED, [this.#toServer(before)])
      if (gone < FORGOTTEN_AT_ONCE) return
    }
  }

  /** What a connection holds, this one's by default, is for any host at once. */
  async letGo(tag: string = this.#redis.tag): Promise<void> {
    await this.#redis.call(LET_GO, [this.#toServer(Date.now()), tag])
  }

  #tried({ id, jobId, event }: WebhookNotice): string[] {
    return [id, jobId, event, this.#redis.tag]
  }

  #waiting(now: number): Promise<[next: string, count: number, bytes: number]> {
    return this.#redis.call(WAITING_NOTICES, [this.#toServer(now)])
  }

  #toServer(ms: number): number {
    return Math.round(ms) + Math.round(this.#redis.aheadMs)
  }

  #fromServer(text: string): number {
    return Number(text) - Math.round(this.#redis.aheadMs)
  }

  #noticeOf([id, ...row]: Row, expert: string): WebhookNotice {
    const field = (name: (typeof NOTICE_FIELDS)[number]) =>
      row[NOTICE_FIELDS.indexOf(name)] as string
    const state = field('state') as WebhookState
    return {
      id: id as string,
      jobId: field('job'),
      expert,
      event: field('event') as WebhookEvent,
      url: field('url'),
      origin: field('origin'),
      state,
      createdAt: this.#fromServer(field('made')),
      nextAt: state === 'failed' || field('next') === '' ? null : this.#fromServer(field('next')),
      attempts: Number(field('tries')),
      error: field('why') || null
    }
  }

  #deliveryOf(row: Row): WebhookDelivery {
    const jobRow = row.slice(1 + NOTICE_FIELDS.length)
    const leftOut = row[1 + NOTICE_FIELDS.indexOf('leftOut')] || null
    const job = storedJob(row[1] as string, jobRow)
    const notice = this.#noticeOf(row, job.expert)
    return { ...notice, job, leftOut: leftOut as WebhookDelivery['leftOut'] }
  }
}
