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
  #lastToken = 0

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  async push(expert: string, jobId: string, place: Place): Promise<void> {
    if (this.#entries.has(jobId)) return
    const seq = ++this.#lastSeq
    const entry: Entry = { jobId, expert, place, seq, token: 0, leaseUntil: null }
    this.#entries.set(jobId, entry)
    this.#enqueue(entry)
  }

  async claim(expert: string, limit: number): Promise<Claim[]> {
    this.#takeBackLapsed()
    const line = this.#lines.get(expert) ?? []
    const claims: Claim[] = []
    for (let at = 0; at < line.length && claims.length < limit; ) {
      const entry = line[at] as Entry
      if ((entry.place.notBefore ?? 0) > this.#now()) at += 1
      else claims.push(this.#lease(entry))
    }
    return claims
  }

  async renew(claims: Claim[]): Promise<Claim[]> {
    return claims.filter((claim) => {
      const entry = this.#held(claim)
      if (entry === null) return true
      this.#dequeue(entry)
      this.#claimed.add(entry)
      entry.leaseUntil = this.#now() + LEASE_MS
      return false
    })
  }

  async done(claim: Claim): Promise<void> {
    const entry = this.#held(claim)
    if (entry !== null) this.#forget(entry)
  }

  async release(claim: Claim, place: Place): Promise<void> {
    const entry = this.#held(claim)
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
    if (line.length === 0) this.#lines.delete(entry.expert)
  }

  #lease(entry: Entry): Claim {
    this.#dequeue(entry)
    this.#claimed.add(entry)
    entry.token = ++this.#lastToken
    entry.leaseUntil = this.#now() + LEASE_MS
    const { jobId, expert, token, place } = entry
    return { jobId, expert, token, alone: place.alone === true }
  }

  /** Those whose lease has run out wait again, of all experts. */
  #takeBackLapsed(): void {
    for (const entry of this.#claimed) {
      if ((entry.leaseUntil as number) < this.#now()) this.#enqueue(entry)
    }
  }

  /** The claim's entry, while nobody has taken it since, even if the lease has run out. */
  #held(claim: Claim): Entry | null {
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
