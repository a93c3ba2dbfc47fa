import { type Claim, type Dispatch, LEASE_MS, type Place } from './dispatch.ts'

interface Entry {
  jobId: string
  expert: string
  place: Place
  /** Of when it was put in: kept when its lease runs out. */
  seq: number
  /** Of the last claim, as long as it counts. */
  token: number
  /** Null while it waits. */
  leaseUntil: number | null
}

/** The line of this one host, in memory. */
export class MemoryDispatch implements Dispatch {
  readonly #now: () => number
  /** Those that wait, by expert, each in its rank. */
  readonly #lines = new Map<string, Entry[]>()
  readonly #entries = new Map<string, Entry>()
  readonly #claimed = new Set<Entry>()
  #lastSeq = 0
  /** One count for all, so that a job which leaves the line and comes again has larger ones. */
  #lastToken: number
  /** No lease ends before this. */
  #nextLapse = Number.POSITIVE_INFINITY

  /** @param lastToken - the largest that was ever given */
  constructor(now: () => number = Date.now, lastToken = 0) {
    this.#now = now
    this.#lastToken = lastToken
  }

  async push(expert: string, jobId: string, place: Place): Promise<void> {
    if (this.#entries.has(jobId)) return
    const seq = ++this.#lastSeq
    const entry: Entry = { jobId, expert, place, seq, token: 0, leaseUntil: null }
    this.#entries.set(jobId, entry)
    this.#enqueue(entry)
  }

  async claim(expert: string, limit: number): Promise<Claim[]> {
    const now = this.#takeBackLapsed()
    const line = this.#lines.get(expert) ?? []
    const claimed: Entry[] = []
    const early: Entry[] = []
    while (line.length > claimed.length + early.length && claimed.length < limit) {
      const entry = line[claimed.length + early.length] as Entry
      if ((entry.place.notBefore ?? 0) > now) early.push(entry)
      else claimed.push(entry)
    }
    if (claimed.length === 0) return []
    // All at once: what is left of a long line is moved for each removal.
    line.splice(0, claimed.length + early.length)
    this.#setLine(expert, early.length === 0 ? line : early.concat(line))
    return claimed.map((entry) => {
      const token = ++this.#lastToken
      entry.token = token
      this.#lease(entry, now)
      return { jobId: entry.jobId, expert, token, alone: entry.place.alone === true }
    })
  }

  async renew(claims: Claim[]): Promise<Claim[]> {
    const now = this.#now()
    return claims.filter((claim) => {
      const entry = this.held(claim)
      if (entry === null) return true
      this.#dequeue(entry)
      this.#lease(entry, now)
      return false
    })
  }

  async done(claim: Claim): Promise<void> {
    const entry = this.held(claim)
    if (entry !== null) this.#forget(entry)
  }

  async release(claim: Claim, place: Place): Promise<void> {
    const entry = this.held(claim)
    if (entry === null) return
    this.#dequeue(entry)
    entry.place = place
    entry.seq = ++this.#lastSeq
    entry.token = 0
    this.#enqueue(entry)
  }

  async drop(jobId: string): Promise<boolean> {
    const entry = this.#entries.get(jobId)
    if (entry !== undefined) this.#forget(entry)
    return entry !== undefined
  }

  async waiting(): Promise<Map<string, number>> {
    this.#takeBackLapsed()
    return new Map([...this.#lines].map(([expert, line]) => [expert, line.length]))
  }

  #enqueue(entry: Entry): void {
    entry.leaseUntil = null
    this.#claimed.delete(entry)
    const line = this.#lines.get(entry.expert) ?? []
    this.#lines.set(entry.expert, line)
    line.splice(rankIn(line, entry), 0, entry)
  }

  #dequeue(entry: Entry): void {
    const line = this.#lines.get(entry.expert)
    if (entry.leaseUntil !== null || line === undefined) return
    line.splice(rankIn(line, entry), 1)
    this.#setLine(entry.expert, line)
  }

  #setLine(expert: string, line: Entry[]): void {
    if (line.length === 0) this.#lines.delete(expert)
    else this.#lines.set(expert, line)
  }

  #lease(entry: Entry, now: number): void {
    this.#claimed.add(entry)
    entry.leaseUntil = now + LEASE_MS
    this.#nextLapse = Math.min(this.#nextLapse, entry.leaseUntil)
  }

  /** Those whose lease has run out wait again, of all experts. @returns now */
  #takeBackLapsed(): number {
    const now = this.#now()
    if (this.#nextLapse >= now) return now
    this.#nextLapse = Number.POSITIVE_INFINITY
    for (const entry of this.#claimed) {
      const leaseUntil = entry.leaseUntil as number
      if (leaseUntil < now) this.#enqueue(entry)
      else this.#nextLapse = Math.min(this.#nextLapse, leaseUntil)
    }
    return now
  }

  /** The claim's entry, while nobody has taken it since, even if the lease has run out. */
  protected held(claim: Claim): Entry | null {
    const entry = this.#entries.get(claim.jobId)
    return entry?.token === claim.token ? entry : null
  }

  #forget(entry: Entry): void {
    this.#dequeue(entry)
    this.#entries.delete(entry.jobId)
    this.#claimed.delete(entry)
  }
}

/** The place of an entry in its line: that of the first which is not before it. */
function rankIn(line: Entry[], entry: Entry): number {
  let [from, to] = [0, line.length]
  while (from < to) {
    const middle = (from + to) >>> 1
    if (isBefore(line[middle] as Entry, entry)) from = middle + 1
    else to = middle
  }
  return from
}

function isBefore(a: Entry, b: Entry): boolean {
  const [aAlone, bAlone] = [a.place.alone === true, b.place.alone === true]
  if (aAlone !== bAlone) return bAlone
  return a.place.priority === b.place.priority ? a.seq < b.seq : a.place.priority > b.place.priority
}
