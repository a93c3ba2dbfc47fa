import { createHash } from 'node:crypto'

/** A step that Redis does as a whole, or not at all. */
export interface RedisScript {
  lua: string
  /** By which Redis knows it once it is loaded. */
  sha: string
}

/**
 * What every script begins with: `P`, in front of every key and channel, is the first argument. A number is
 * written with all its digits, which Lua by itself does not.
 */
const PRELUDE = `
local P, call = ARGV[1], redis.call
local function exact(x) return string.format('%.17g', x) end
local function server_ms() local t = call('TIME') return t[1] * 1000 + t[2] / 1000 end
`

/**
 * @param options.grows - refused as a whole by a Redis that is full; what carries on accepted work is not
 */
export function redisScript(body: string, { grows }: { grows: boolean }): RedisScript {
  const lua = `#!lua${grows ? '' : ' flags=allow-oom'}\n${PRELUDE}${body}`
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}
