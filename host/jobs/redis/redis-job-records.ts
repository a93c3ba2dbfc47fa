import { HostError } from '../../errors.ts'
import {
  type FixedFields,
  isFinal,
  type Job,
  type JobPatch,
  jobStatuses,
  keptBytes,
  lastChange
} from '../job.ts'
import type { JobQuery, JobRecords, Retention } from '../job-records.ts'
import type { RedisConnection } from './redis-connection.ts'
import { lineOf } from './redis-dispatch.ts'
import {
  COUNT,
  CREATE,
  END,
  EXPIRE,
  ITEMS,
  KEEP_ITEM,
  LIST,
  MAKE_ROOM,
  PATCH,
  READ
} from './redis-record-scripts.ts'
import { BETWEEN_BODIES, storedJob } from './stored-job.ts'

/** Forgotten ids, whether it was done, and how many notices its webhook has got by it. */
type Patched = [gone: string[], isDone: number, notices: number]

/** Records that are read with one call: others have their turn between. */
const AT_ONCE = 100
/** Jobs that `expire` forgets with one call; fewer say that there are no more. */
const STEP = 100
/** More than any listing gives. */
const MOST_LISTED = 1_000_000

/** Jobs as keys of a Redis that many hosts share. */
export class RedisJobRecords implements JobRecords {
  onForget: (id: string) => void = () => {}
  /** Called when the webhook of a job has something to be told. */
  onNotice: () => void = () => {}
  readonly #redis: RedisConnection
  readonly #retention: Retention
  readonly #hostId: string
  readonly #clock: (() => number) | null

  /**
   * @param options.hostId - of the host that has the files which are uploaded here
   * @param options.now - default: the server's clock
   */
  constructor(
    redis: RedisConnection,
    options: { retention: Retention; hostId: string; now?: (() => number) | undefined }
  ) {
    this.#redis = redis
    this.#retention = options.retention
    this.#hostId = options.hostId
    this.#clock = options.now ?? null
  }

  async create(job: Job): Promise<Job | null> {
    const key = job.idempotency === null ? '' : JSON.stringify(job.idempotency.key)
    for (;;) {
      const [gone, holder, isTaken] = await this.#redis.call<[string[], string, number]>(
        CREATE,
        this.#creation(job, key)
      )
      this.#forgot(gone)
      if (isTaken === 1) throw new Error(`There is a job ${job.id} already`)
      if (holder === '') return null
      const found = await this.get(holder)
      if (found !== undefined) return found
      // What was in the way has gone between the two calls.
    }
  }

  async get(id: string): Promise<Job | undefined> {
    return (await this.getMany([id])).get(id)
  }

  async getMany(ids: string[]): Promise<Map<string, Job>> {
    const parts: Array<Promise<Array<Array<string | null>>>> = []
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      parts.push(this.#redis.call(READ, ids.slice(from, from + AT_ONCE)))
    }
    const rows = (await Promise.all(parts)).flat()
    const horizon = this.#horizon()
    const jobs = new Map<string, Job>()
    for (const [place, row] of rows.entries()) {
      if (row[0] === null) continue
      const id = ids[place] as string
      const job = storedJob(id, row)
      if (!isFinal(job.status) || (job.finishedAt as number) > horizon) jobs.set(id, job)
    }
    return jobs
  }

  async patch(id: string, patch: JobPatch, token = 0): Promise<boolean> {
    const isEnd = patch.status !== undefined && isFinal(patch.status)
    const { maxFinished, maxFinishedBytes } = this.#retention
    const { end } = patch
    const args = [
      ...[id, String(token), this.#redis.tag, maxFinished, maxFinishedBytes],
      ...[end?.ok === true ? end.text.length : 0, JSON.stringify(id), ...changes(patch)]
    ]
    const [gone, isDone, notices] = isEnd
      ? await this.#end(args)
      : await this.#redis.call<Patched>(PATCH, args)
    this.#forgot(gone)
    if (notices > 0) this.onNotice()
    return isDone === 1
  }

  async list(query: JobQuery): Promise<Job[]> {
    const { expert, statuses = jobStatuses, before = Number.POSITIVE_INFINITY } = query
    const limit = Math.max(0, Math.min(query.limit, MOST_LISTED))
    if (statuses.length === 0 || limit === 0) return []
    const earlier = before === Number.POSITIVE_INFINITY ? '+inf' : `(${before}`
    const experts = expert === undefined ? [] : [expert]
    const ids: string[] = await this.#redis.call(LIST, [
      ...[String(this.#horizon()), earlier, limit, experts.length],
      ...[...experts, ...new Set(statuses)]
    ])
    const jobs = await this.getMany(ids)
    // What has changed between the two looks stands elsewhere in the list now, or not at all.
    return ids
      .flatMap((id) => jobs.get(id) ?? [])
      .filter((job) => statuses.includes(job.status) && lastChange(job) < before)
      .sort((a, b) => lastChange(a) - lastChange(b))
  }

  async count(expert?: string): Promise<Record<(typeof jobStatuses)[number], number>> {
    const experts = expert === undefined ? [] : [expert]
    const args = [String(this.#horizon()), experts.length, ...experts, ...jobStatuses]
    const found: number[] = await this.#redis.call(COUNT, args)
    const counts = { queued: 0, running: 0, succeeded: 0, failed: 0, canceled: 0 }
    for (const [place, status] of jobStatuses.entries()) counts[status] = found[place] as number
    return counts
  }

  async keepItem(id: string, place: number, text: string, token = 0): Promise<boolean> {
    return (await this.#redis.call(KEEP_ITEM, [id, String(token), place, text])) === 1
  }

  async items(id: string): Promise<Map<number, string>> {
    const found: string[] = await this.#redis.call(ITEMS, [id])
    const items = new Map<number, string>()
    for (let at = 0; at < found.length; at += 2) {
      items.set(Number(found[at]), found[at + 1] as string)
    }
    return items
  }

  async expire(now: number): Promise<number> {
    // By the server's clock, unless a test tells the time: hosts may disagree.
    const time = this.#clock === null ? this.#redis.now() : now
    const args = [this.#clock?.() ?? '', String(time - this.#retention.keepMs)]
    for (let count = 0; ; ) {
      const gone: string[] = await this.#redis.call(EXPIRE, args)
      this.#forgot(gone)
      count += gone.length
      if (gone.length < STEP) return count
    }
  }

  /** Jobs that ended then or before are past their time. */
  #horizon(): number {
    return (this.#clock?.() ?? this.#redis.now()) - this.#retention.keepMs
  }

  #forgot(gone: string[]): void {
    for (const id of gone) this.onForget(id)
  }

  /** A full Redis makes room with the oldest finished jobs; when it has none, the end is over its bound. */
  async #end(args: Array<string | number>): Promise<Patched> {
    for (let count = 1; ; count = Math.min(count * 4, 1024)) {
      try {
        return await this.#redis.call(END, args)
      } catch (error) {
        if (!(error instanceof HostError) || error.code !== 'HOST_STORE_FULL') throw error
        const gone: string[] = await this.#redis.call(MAKE_ROOM, [count])
        this.#forgot(gone)
        if (gone.length === 0) return this.#redis.call(PATCH, args)
      }
    }
  }

  #creation(job: Job, key: string): Array<string | number> {
    const { expertVersion, kind, isList, timeoutMs, maxAttempts, upload, output, retryOf } = job
    const fingerprint = job.idempotency?.fingerprint ?? null
    const fixed: FixedFields = {
      ...{ expertVersion, kind, isList, timeoutMs, maxAttempts, upload, output, retryOf },
      fingerprint
    }
    return [
      ...[this.#clock?.() ?? '', String(this.#horizon()), job.id, job.expert, key],
      ...[lineOf(job.expert, upload === null ? null : this.#hostId), job.status],
      ...[String(job.createdAt), textOf(job.startedAt), job.attempts, job.priority, keptBytes(job)],
      ...[JSON.stringify(fixed), job.bodies.join(BETWEEN_BODIES), jsonOf(job.progress)],
      jsonOf(job.webhook)
    ]
  }
}

/** Fields and values. */
function changes(patch: JobPatch): string[] {
  const { status, startedAt, finishedAt, attempts, progress, end } = patch
  const fields: string[] = []
  if (status !== undefined) fields.push('status', status)
  if (startedAt !== undefined) fields.push('started', textOf(startedAt))
  if (finishedAt !== undefined) fields.push('finished', textOf(finishedAt))
  if (attempts !== undefined) fields.push('attempts', String(attempts))
  if (progress !== undefined) fields.push('progress', jsonOf(progress))
  if (end != null) {
    fields.push('end', JSON.stringify({ ...end, text: undefined }))
    if (end.ok) fields.push('text', end.text)
    if (end.ok && end.head?.file) fields.push('file', '1')
  }
  return fields
}

function textOf(value: number | null): string {
  return value === null ? '' : String(value)
}

function jsonOf(value: object | null): string {
  return value === null ? '' : JSON.stringify(value)
}
