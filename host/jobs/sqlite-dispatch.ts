import type { Row, SqliteStore } from '../sqlite/sqlite-store.ts'
import type { Claim, Place } from './dispatch.ts'
import { MemoryDispatch } from './memory-dispatch.ts'

/** Where a job stands that was put back, as it is written: behind what was there then. */
interface PutBack extends Place {
  /** The number of the last job that was there. */
  behind: number
  /** Which of those behind the same job came first. */
  seq: number
}

/**
 * The line of one host, which is rebuilt from its unfinished jobs when it starts.
 *
 * A file is one host's alone, and its claims end with it: so they are in memory, and so is the line, since
 * each job stands where it was made. Written is only what is different with those that were put back.
 */
export class SqliteDispatch extends MemoryDispatch {
  readonly #insist: SqliteStore['run']
  #lastSeq: number

  private constructor(
    insist: SqliteStore['run'],
    now: () => number,
    last: { token: number; seq: number }
  ) {
    super(now, last.token)
    this.#insist = insist
    this.#lastSeq = last.seq
  }

  /** Of a file in which nothing runs. */
  static async open(options: {
    insist: SqliteStore['run']
    now: () => number
  }): Promise<SqliteDispatch> {
    const { insist, now } = options
    const [queued] = await insist({
      sql: "SELECT num, id, expert, priority, token, place FROM jobs WHERE status = 'queued'"
    })
    const line = (queued?.rows ?? []).map((row) => ({ row, place: placeOf(row) }))
    line.sort((a, b) => a.place.behind - b.place.behind || a.place.seq - b.place.seq)
    const last = { token: 0, seq: 0 }
    for (const { row, place } of line) {
      last.token = Math.max(last.token, row['token'] as number)
      last.seq = Math.max(last.seq, place.seq)
    }
    const dispatch = new SqliteDispatch(insist, now, last)
    for (const { row, place } of line) {
      await dispatch.push(row['expert'] as string, row['id'] as string, place)
    }
    return dispatch
  }

  override async release(claim: Claim, place: Place): Promise<void> {
    if (this.held(claim) === null) return
    const seq = ++this.#lastSeq
    await this.#insist({
      sql: `UPDATE jobs SET place = json_set(?, '$.behind', (SELECT max(num) FROM jobs))
            WHERE id = ?`,
      params: [JSON.stringify({ ...place, seq }), claim.jobId]
    })
    await super.release(claim, place)
  }
}

function placeOf(row: Row): PutBack {
  const place = row['place'] as string | null
  if (place !== null) return JSON.parse(place)
  return { priority: row['priority'] as number, behind: row['num'] as number, seq: 0 }
}
