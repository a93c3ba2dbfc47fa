import { randomUUID } from 'node:crypto'
import { access, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '../../config/load-config.ts'
import { makeStoreFolder } from '../../lasting-folder.ts'
import type { Logger } from '../../observe/log.ts'
import type { Dispatch } from '../dispatch.ts'
import type { JobExchange } from '../job-exchange.ts'
import type { JobRecords, Retention } from '../job-records.ts'
import type { WebhookOutbox } from '../webhook-outbox.ts'
import { RedisConnection } from './redis-connection.ts'
import { RedisDispatch } from './redis-dispatch.ts'
import { exchangeScripts, RedisExchange } from './redis-exchange.ts'
import { RedisJobRecords } from './redis-job-records.ts'
import { lineScripts } from './redis-line-scripts.ts'
import { recordScripts } from './redis-record-scripts.ts'
import { RedisWebhookOutbox } from './redis-webhook-outbox.ts'
import { webhookScripts } from './redis-webhook-scripts.ts'

const HOST_ID = 'host-id'
/** Between two looks whether its folder is there, milliseconds. */
const WATCH_MS = 1000

/** Jobs, their line, their notices, and what hosts tell each other, on one Redis. */
export interface RedisJobs {
  records: JobRecords
  dispatch: Dispatch
  outbox: WebhookOutbox
  exchange: JobExchange
  /** Why it cannot be used at the moment, or null. */
  readonly failure: Error | null
  /** What accepted jobs survive, in words. */
  readonly guarantee: string
  close(): Promise<void>
}

/**
 * Connects to the Redis of `REDIS_URL`. One that does not answer is waited for in the background.
 *
 * @param options.dir - of this host alone; it has its name among the hosts
 * @param options.absentMs - how long jobs wait for the host that has their files
 * @param options.now - default: the server's clock
 * @throws ConfigError when the server does not let this host in
 */
export async function openRedisJobs(options: {
  url: string
  dir: string
  retention: Retention
  absentMs: number
  log: Logger
  now?: (() => number) | undefined
  prefix?: string | undefined
  timeoutMs?: number | undefined
}): Promise<RedisJobs> {
  const { url, dir, retention, absentMs, log, now, prefix, timeoutMs } = options
  const hostId = await nameOf(dir, log)
  const scripts = [...lineScripts, ...recordScripts, ...webhookScripts, ...exchangeScripts]
  const { connection, refusal } = await RedisConnection.open({
    ...{ url, scripts, log, prefix, timeoutMs }
  })
  if (refusal !== null) {
    await connection.close()
    throw new ConfigError([`REDIS_URL: ${connection.url} does not let this host in: ${refusal}`])
  }
  const exchange = new RedisExchange(connection)
  const records = new RedisJobRecords(connection, { retention, hostId, now })
  const outbox = new RedisWebhookOutbox(connection)
  records.onNotice = () => outbox.onNotice()
  const dispatch = new RedisDispatch(connection, { hostId, absentMs, now })
  const takePlace = async () => {
    for (const tag of await dispatch.takePlace()) await outbox.letGo(tag)
  }
  // Where it fails, what the host before held waits for the end of its lease.
  await connection.whenFirstThere(() => takePlace().catch(() => {}))
  // Uploads and answered files are in it, and this host's name: without them it must not take any job.
  const watching = setInterval(() => {
    access(join(dir, HOST_ID)).catch(({ code }: NodeJS.ErrnoException) => {
      if (code === 'ENOENT') connection.giveUp(`the folder ${dir} was removed under the host`)
    })
  }, WATCH_MS)
  watching.unref()
  return {
    records,
    dispatch,
    outbox,
    exchange,
    get failure() {
      return connection.failure
    },
    get guarantee() {
      return connection.guarantee
    },
    close: async () => {
      clearInterval(watching)
      exchange.close()
      if (connection.failure === null) await outbox.letGo().catch(() => {})
      await connection.close()
    }
  }
}

/** The same whenever a host starts on this folder: the files in it are this host's. */
async function nameOf(dir: string, log: Logger): Promise<string> {
  const path = join(dir, HOST_ID)
  await makeStoreFolder(dir, log)
  const found = await readFile(path, 'utf8').catch(() => '')
  if (/^[0-9a-f-]{36}$/.test(found)) return found
  const name = randomUUID()
  await writeFile(path, name)
  return name
}
