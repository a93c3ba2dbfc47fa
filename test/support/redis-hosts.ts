import type { Test } from 'tap'
import type { TestRedis } from '../../host/test/start-redis.ts'
import { makeNotedHome, type NotedOptions } from './noted-host.ts'
import { spawnHost } from './start-host.ts'

/** Two hosts, each with a home of its own, on one Redis. */
export async function startTwo(
  t: Test,
  redis: TestRedis,
  left: NotedOptions,
  right: NotedOptions,
  more: Record<string, string> = {}
) {
  const env = { REDIS_URL: redis.url, ...more }
  const homes = [await makeNotedHome(t, left), await makeNotedHome(t, right)] as const
  const hosts = await Promise.all(homes.map(({ home }) => spawnHost(t, { home, env })))
  const [a, b] = hosts as [(typeof hosts)[0], (typeof hosts)[0]]
  return { a, b, ofA: homes[0], ofB: homes[1], env }
}
