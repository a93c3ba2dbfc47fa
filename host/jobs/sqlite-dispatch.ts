import type { Row, SqliteStore } from '../sqlite/sqlite-store.ts'
import { type Claim, type Dispatch, LEASE_MS, type Place } from './dispatch.ts'

type Run = SqliteStore['run']

/** A claim is held while the entry has its token, even if its lease has run out: nobody took it since. */
const HELD = 'job = ? AND token = ?'
const HELD_OF_MANY = '(job, token) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))'

/** The line of one host, in an SQLite file. */
export class SqliteDispatch implements Dispatch {
  readonly #run: Run
  /** For those who are in the line already: it makes room in a full store. */
  readonly #insist: Run
  readonly #now: () => number
  /** How many wait, by expert, so that nobody asks the file for nothing. */
  readonly #waiting = new Map<string, number>()
  #lastSeq: number
  #lastToken: number
  /** No lease ends before this. */
  #nextLapse = Number.POSITIVE_INFINITY

  private constructor(run: Run, insist: Run, now: () => number, last: Row, waiting: Row[]) {
    this.#run = run
    this.#insist = insist
    this.#now = now
    this.#lastSeq = last['seq'] as number
    this.#lastToken = last['token'] as number
    for (const { expert, jobs } of waiting) this.#waiting.set(expert as string, jobs as number)
  }

  /** Of a file without leases. */
  static async open(options: {
    run: Run
    insist: Run
    now: () => number
  }): Promise<SqliteDispatch> {
    const { run, insist, now } = options
    const [last, waiting] = await run(
      { sql: 'SELECT coalesce(max(seq), 0) AS seq, coalesce(max(token), 0) AS token FROM line' },
      { sql: 'SELECT expert, count(*) AS jobs FROM line WHERE lease_until IS NULL GROUP BY expert' }
    )
    return new SqliteDispatch(run, insist, now, last?.rows[0] as Row, waiting?.rows as Row[])
  }

  async push(expert: string, jobId: string, place: Place): Promise<void> {
    const { priority, alone = false, notBefore = 0 } = place
    const [pushed] = await this.#run({
      sql: `INSERT INTO line (job, expert, alone, priority, seq, not_before, token)
            VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING`,
      params: [jobId, expert, alone ? 1 : 0, priority, ++this.#lastSeq, notBefore]
    })
    if (pushed?.changes === 1) this.#count(expert, 1)
  }

  async claim(expert: string, limit: number): Promise<Claim[]> {
    await this.#takeBackLapsed()
    if (limit <= 0 || !this.#waiting.has(expert)) return []
    const now = this.#now()
    const token = ++this.#lastToken
    const [claimed] = await this.#insist({
      sql: `UPDATE line SET token = ?, lease_until = ? WHERE job IN (
              SELECT job FROM line WHERE expert = ? AND lease_until IS NULL AND not_before <= ?
              ORDER BY alone, priority DESC, seq LIMIT ?
            ) RETURNING job, alone, priority, seq`,
      params: [token, this.#lease(now), expert, now, Math.min(limit, Number.MAX_SAFE_INTEGER)]
    })
    const rows = claimed?.rows ?? []
    this.#count(expert, -rows.length)
    return rows
      .sort(byRank)
      .map((row) => ({ jobId: row['job'] as string, expert, token, alone: row['alone'] === 1 }))
  }

  async renew(claims: Claim[]): Promise<Claim[]> {
    if (claims.length === 0) return []
    const leaseUntil = this.#lease(this.#now())
    const held = JSON.stringify(claims.map(({ jobId, token }) => [jobId, token]))
    const [lapsed, renewed] = await this.#insist(
      {
        sql: `SELECT expert FROM line WHERE lease_until IS NULL AND ${HELD_OF_MANY}`,
        params: [held]
      },
      {
        sql: `UPDATE line SET lease_until = ? WHERE ${HELD_OF_MANY} RETURNING job, token`,
        params: [leaseUntil, held]
      }
    )
    for (const row of lapsed?.rows ?? []) this.#count(row['expert'] as string, -1)
    const tokens = new Map(renewed?.rows.map((row) => [row['job'], row['token']]))
    return claims.filter(({ jobId, token }) => tokens.get(jobId) !== token)
  }

  async done(claim: Claim): Promise<void> {
    const [gone] = await this.#insist({
      sql: `DELETE FROM line WHERE ${HELD} RETURNING expert, lease_until`,
      params: [claim.jobId, claim.token]
    })
    this.#countGone(gone?.rows)
  }

  async release(claim: Claim, place: Place): Promise<void> {
    const { priority, alone = false, notBefore = 0 } = place
    const { jobId, token, expert } = claim
    const [claimed, released] = await this.#insist(
      {
        sql: `SELECT 1 FROM line WHERE lease_until IS NOT NULL AND ${HELD}`,
        params: [jobId, token]
      },
      {
        // A token that nobody has: the claim is lost from now on.
        sql: `UPDATE line SET alone = ?, priority = ?, seq = ?, not_before = ?, token = ?,
                lease_until = NULL WHERE ${HELD}`,
        params: [
          ...[alone ? 1 : 0, priority, ++this.#lastSeq, notBefore, ++this.#lastToken],
          ...[jobId, token]
        ]
      }
    )
    if (released?.changes === 1) this.#count(expert, claimed?.rows.length ?? 0)
  }

  async drop(jobId: string): Promise<boolean> {
    // Ids come from callers' URLs; the store refuses these.
    if (jobId.includes('\0')) return false
    const [gone] = await this.#insist({
      sql: 'DELETE FROM line WHERE job = ? RETURNING expert, lease_until',
      params: [jobId]
    })
    this.#countGone(gone?.rows)
    return gone?.rows.length === 1
  }

  async waiting(): Promise<Map<string, number>> {
    await this.#takeBackLapsed()
    return new Map(this.#waiting)
  }

  /** Notes that a lease is taken now. @returns when it ends */
  #lease(now: number): number {
    this.#nextLapse = Math.min(this.#nextLapse, now + LEASE_MS)
    return now + LEASE_MS
  }

  /** Those whose lease has run out wait again, of all experts. */
  async #takeBackLapsed(): Promise<void> {
    const now = this.#now()
    if (this.#nextLapse >= now) return
    // Set before the wait: leases that are taken meanwhile lower it.
    this.#nextLapse = Number.POSITIVE_INFINITY
    try {
      const [lapsed, left] = await this.#insist(
        {
          sql: 'UPDATE line SET lease_until = NULL WHERE lease_until < ? RETURNING expert',
          params: [now]
        },
        { sql: 'SELECT min(lease_until) AS next FROM line WHERE lease_until IS NOT NULL' }
      )
      for (const row of lapsed?.rows ?? []) this.#count(row['expert'] as string, 1)
      const next = left?.rows[0]?.['next'] as number | null
      this.#nextLapse = Math.min(this.#nextLapse, next ?? Number.POSITIVE_INFINITY)
    } catch (error) {
      this.#nextLapse = Number.NEGATIVE_INFINITY
      throw error
    }
  }

  #countGone(rows: Row[] = []): void {
    for (const row of rows)
      if (row['lease_until'] === null) this.#count(row['expert'] as string, -1)
  }

  #count(expert: string, more: number): void {
    const count = (this.#waiting.get(expert) ?? 0) + more
    if (count === 0) this.#waiting.delete(expert)
    else this.#waiting.set(expert, count)
  }
}

/** Rows that a change gives back are in no order. */
function byRank(a: Row, b: Row): number {
  const by = (name: string) => (a[name] as number) - (b[name] as number)
  return by('alone') || -by('priority') || by('seq')
}
