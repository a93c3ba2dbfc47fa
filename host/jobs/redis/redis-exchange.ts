import type { HeardEvent, JobExchange } from '../job-exchange.ts'
import type { JobEvent } from '../job-feeds.ts'
import type { RedisConnection } from './redis-connection.ts'
import { expertOf } from './redis-dispatch.ts'
import { redisScript } from './redis-script.ts'

/** Events of many jobs are sent together, so often, milliseconds. */
const TELL_MS = 20
/** Of one job at once; what it said before is dropped, as it would be by who listens. */
const MOST_AT_ONCE = 100
const KEPT = 100
/** A host that has not said so for so long does not serve an expert any more, milliseconds. */
const SERVED_MS = 30_000

/** `id, message, number of kept events, kept events…, …` */
const TELL = redisScript(
  `local i = 2
while i <= #ARGV do
  local id, count = ARGV[i], tonumber(ARGV[i + 2])
  -- What comes after the end of a job, or of its record, is for nobody.
  local status = call('HGET', P .. 'job:' .. id, 'status')
  if status == 'queued' or status == 'running' then
    if count > 0 then
      call('RPUSH', P .. 'events:' .. id, unpack(ARGV, i + 3, i + 2 + count))
      call('LTRIM', P .. 'events:' .. id, -${KEPT}, -1)
    end
    call('PUBLISH', P .. 'told:' .. id, ARGV[i + 1])
  end
  i = i + 3 + count
end
return 1`,
  { grows: true }
)
/** `id`. */
const EVENTS = redisScript(`return call('LRANGE', P .. 'events:' .. ARGV[2], 0, -1)`, {
  grows: false
})
/** `experts…`: those that any host serves. */
const SERVED = redisScript(
  `local now = server_ms()
for i = 2, #ARGV do call('ZADD', P .. 'served', exact(now), ARGV[i]) end
call('ZREMRANGEBYSCORE', P .. 'served', '-inf', exact(now - ${SERVED_MS}))
return call('ZRANGE', P .. 'served', 0, -1)`,
  { grows: false }
)

export const exchangeScripts = [TELL, EVENTS, SERVED]

interface Message {
  /** Tag of the connection. */
  from: string
  events?: JobEvent[]
  hasEnded?: boolean
}

/** What hosts tell each other over the channels of their Redis. */
export class RedisExchange implements JobExchange {
  onWaiting: (expert: string) => void = () => {}
  onCanceled: (jobId: string) => void = () => {}
  onForgotten: (jobId: string) => void = () => {}
  readonly #redis: RedisConnection
  readonly #followed = new Map<string, Set<(heard: HeardEvent) => void>>()
  #untold = new Map<string, JobEvent[]>()
  #timer: NodeJS.Timeout | null = null

  constructor(redis: RedisConnection) {
    this.#redis = redis
    const { subscriber, prefix } = redis
    const channels = ['waiting', 'canceled', 'forgotten'].map((name) => `${prefix}${name}`)
    // It subscribes again by itself whenever the connection is back.
    subscriber.subscribe(...channels).catch(() => {})
    subscriber.on('message', (channel: string, text: string) => {
      this.#hear(channel.slice(prefix.length), text)
    })
    // What was told meanwhile is lost.
    subscriber.on('ready', () => {
      for (const listeners of this.#followed.values()) {
        for (const listener of [...listeners]) listener('look')
      }
    })
  }

  tell(jobId: string, event: JobEvent): void {
    const events = this.#untold.get(jobId) ?? []
    this.#untold.set(jobId, events)
    events.push(event)
    if (events.length > MOST_AT_ONCE) events.shift()
    this.#timer ??= setTimeout(() => this.#send(), TELL_MS)
  }

  flush(jobId: string): void {
    const events = this.#untold.get(jobId)
    if (events === undefined) return
    this.#untold.delete(jobId)
    // Where it stands is said by what follows: a short run has nothing to tell.
    if (events.some((event) => event.type !== 'status')) this.#tell([[jobId, events]])
  }

  async follow(jobId: string, listener: (heard: HeardEvent) => void): Promise<() => void> {
    const { subscriber, prefix } = this.#redis
    const channel = `${prefix}told:${jobId}`
    const listeners = this.#followed.get(jobId) ?? new Set()
    this.#followed.set(jobId, listeners)
    listeners.add(listener)
    const stop = () => {
      if (!listeners.delete(listener) || listeners.size > 0) return
      if (this.#followed.get(jobId) === listeners) this.#followed.delete(jobId)
      if (!this.#followed.has(jobId)) subscriber.unsubscribe(channel).catch(() => {})
    }
    // While the connection is away it waits in vain: the caller hears of that from the store.
    const { failure } = this.#redis
    if (failure === null) await subscriber.subscribe(channel).catch(() => {})
    else void subscriber.subscribe(channel).catch(() => {})
    return stop
  }

  async kept(jobId: string): Promise<JobEvent[]> {
    const texts: string[] = await this.#redis.call(EVENTS, [jobId])
    return texts.map((text) => JSON.parse(text))
  }

  async served(experts: string[]): Promise<Set<string>> {
    return new Set<string>(await this.#redis.call(SERVED, experts))
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  #send(): void {
    this.#timer = null
    const untold = this.#untold
    this.#untold = new Map()
    if (untold.size > 0) this.#tell([...untold])
  }

  #tell(all: Array<[jobId: string, events: JobEvent[]]>): void {
    const args = all.flatMap(([jobId, events]) => {
      const kept = events.filter(({ type }) => type === 'progress' || type === 'log')
      const message: Message = { from: this.#redis.tag, events }
      return [
        jobId,
        JSON.stringify(message),
        kept.length,
        ...kept.map((one) => JSON.stringify(one))
      ]
    })
    this.#redis.call(TELL, args).catch(() => {})
  }

  #hear(channel: string, text: string): void {
    if (channel === 'waiting') {
      this.onWaiting(expertOf(text))
      return
    }
    const message = JSON.parse(text)
    if (channel === 'forgotten') for (const id of message as string[]) this.onForgotten(id)
    else if (channel === 'canceled') {
      if (message.from !== this.#redis.tag) this.onCanceled(message.id)
    } else this.#hearOf(channel.slice('told:'.length), message)
  }

  #hearOf(jobId: string, { from, events = [], hasEnded }: Message): void {
    if (from === this.#redis.tag) return
    for (const listener of [...(this.#followed.get(jobId) ?? [])]) {
      for (const event of events) listener(event)
      if (hasEnded === true) listener('look')
    }
  }
}
