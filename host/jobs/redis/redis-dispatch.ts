import type { Claim, Dispatch, Place } from '../dispatch.ts'
import type { RedisConnection } from './redis-connection.ts'
import {
  CLAIM,
  DONE,
  DROP,
  HOLDERS,
  PUSH,
  RELEASE,
  RENEW,
  TAKE_PLACE,
  WAITING
} from './redis-line-scripts.ts'

/** The line of all hosts that share a Redis. Leases go by the server's clock. */
export class RedisDispatch implements Dispatch {
  readonly #redis: RedisConnection
  readonly #hostId: string
  readonly #absentMs: number
  readonly #now: () => number | ''

  /**
   * @param options.hostId - the host that has the files of what it puts in line with `here`
   * @param options.absentMs - how long such jobs wait for a host that is away; then any may claim them
   * @param options.now - default: the server's clock
   */
  constructor(
    redis: RedisConnection,
    options: { hostId: string; absentMs: number; now?: (() => number) | undefined }
  ) {
    this.#redis = redis
    this.#hostId = options.hostId
    this.#absentMs = options.absentMs
    this.#now = options.now ?? (() => '')
  }

  /**
   * Ends the claims that this host had before it was killed, sooner than their lease would. Those of one that is
   * there, since two were given the same folder, stay with it.
   *
   * @returns the tags of the connections whose place was taken
   */
  async takePlace(): Promise<string[]> {
    const before = await this.#redis.call<string[]>(HOLDERS, [this.#hostId])
    const gone = await this.#redis.goneOf(before)
    if (gone.length < before.length) this.#redis.tellTwin()
    await this.#redis.call(TAKE_PLACE, [this.#now(), this.#hostId, this.#redis.tag, ...gone])
    return gone
  }

  async push(expert: string, jobId: string, place: Place): Promise<void> {
    const line = lineOf(expert, place.here === true ? this.#hostId : null)
    await this.#redis.call(PUSH, [this.#now(), line, jobId, ...rankOf(place)])
  }

  async claim(expert: string, limit: number): Promise<Claim[]> {
    const args = [this.#now(), limit, expert, this.#hostId, this.#redis.tag]
    const found: string[] = await this.#redis.call(CLAIM, args)
    const claims: Claim[] = []
    for (let at = 0; at < found.length; at += 3) {
      const [jobId, token, alone] = found.slice(at, at + 3) as [string, string, string]
      claims.push({ jobId, expert, token: Number(token), alone: alone === '1' })
    }
    return claims
  }

  async renew(claims: Claim[]): Promise<Claim[]> {
    if (claims.length === 0) return []
    const held = claims.flatMap(({ jobId, token }) => [jobId, String(token)])
    const lost: number[] = await this.#redis.call(RENEW, [this.#now(), ...held])
    return lost.map((place) => claims[place] as Claim)
  }

  async done({ jobId, token }: Claim): Promise<void> {
    await this.#redis.call(DONE, [jobId, String(token)])
  }

  async release({ jobId, token }: Claim, place: Place): Promise<void> {
    await this.#redis.call(RELEASE, [this.#now(), jobId, String(token), ...rankOf(place)])
  }

  async drop(jobId: string): Promise<boolean> {
    return (await this.#redis.call(DROP, [jobId])) === 1
  }

  async waiting(): Promise<Map<string, number>> {
    const args = [this.#now(), this.#hostId, this.#absentMs, this.#redis.tag]
    const found: Array<string | number> = await this.#redis.call(WAITING, args)
    const waiting = new Map<string, number>()
    for (let at = 0; at < found.length; at += 2) {
      const expert = expertOf(found[at] as string)
      waiting.set(expert, (waiting.get(expert) ?? 0) + (found[at + 1] as number))
    }
    return waiting
  }
}

/** No expert's name has a blank in it. @param hostId - the host that alone can run it; null for any */
export function lineOf(expert: string, hostId: string | null): string {
  return hostId === null ? expert : `${expert} @${hostId}`
}

/** The expert of a line. */
export function expertOf(line: string): string {
  const end = line.indexOf(' @')
  return end === -1 ? line : line.slice(0, end)
}

function rankOf({ alone = false, priority, notBefore = 0 }: Place): Array<string | number> {
  return [alone ? 1 : 0, priority, String(notBefore)]
}
