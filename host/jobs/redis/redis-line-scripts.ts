import { LEASE_MS } from '../dispatch.ts'
import { redisScript } from './redis-script.ts'

/** How long it is known which connection a host has had, milliseconds. */
const HOLDERS_MS = 7 * 24 * 60 * 60 * 1000
/** When no host has looked for so long, it is the server that was away, and nobody could renew. */
const AWAY_MS = 5000
/** How long claims then hold without being renewed: until every host has come back. */
const GRACE_MS = 15_000

/**
 * The line. A job's place is a hash of its own: `line`, `rank`, `alone`, and the `token` and the `holder` of the
 * claim that counts. By its state it stands in one of three sorted sets: `wait:` of its line, by rank; `late:` of its
 * line, by when it may be claimed; `held`, by when its lease ends. `lines` has those that may have somebody in them.
 *
 * A rank is one number: alone, priority and turn, 52 bits together.
 */
export const LINE = `
local function rank_of(alone, priority)
  local class = alone * 2001 + 1000 - math.max(-1000, math.min(1000, priority))
  return class * 0x10000000000 + call('INCR', P .. 'turn')
end

local function stand(id, line, rank, due, now)
  call('SADD', P .. 'lines', line)
  if due > now then
    call('ZADD', P .. 'late:' .. line, exact(due), id)
    return
  end
  local wait = P .. 'wait:' .. line
  call('ZADD', wait, rank, id)
  if call('ZCARD', wait) == 1 then call('PUBLISH', P .. 'waiting', line) end
end

local function step_out(id, line)
  call('ZREM', P .. 'held', id)
  call('ZREM', P .. 'wait:' .. line, id)
  call('ZREM', P .. 'late:' .. line, id)
end

local function put(id, line, alone, priority, due, now)
  local rank = exact(rank_of(alone, priority))
  call('HSET', P .. 'place:' .. id, 'line', line, 'rank', rank, 'alone', alone, 'token', '0')
  stand(id, line, rank, due, now)
end

-- Jobs whose lease has run out wait again, in their old rank. That nobody renewed while the
-- server itself was away says nothing of the hosts: they are given time to come back.
local function lapse(now)
  local server = server_ms()
  local seen = tonumber(call('GET', P .. 'seen') or server)
  if server - seen > ${AWAY_MS} then call('SET', P .. 'grace', '1', 'PX', ${GRACE_MS}) end
  if server - seen > 1000 or server == seen then call('SET', P .. 'seen', exact(server)) end
  local lapsed = call('ZRANGEBYSCORE', P .. 'held', '-inf', '(' .. exact(now), 'LIMIT', 0, 1000)
  if #lapsed == 0 or call('EXISTS', P .. 'grace') == 1 then return end
  for _, id in ipairs(lapsed) do
    call('ZREM', P .. 'held', id)
    local place = call('HMGET', P .. 'place:' .. id, 'line', 'rank')
    if place[1] then stand(id, place[1], place[2], 0, now) end
  end
end

local function time_of(text) return text == '' and server_ms() or tonumber(text) end
`

/** `now, line, id, alone, priority, due`: nothing when it has a place. */
export const PUSH = redisScript(
  `${LINE}
local id = ARGV[4]
call('ZREM', P .. 'unplaced', id)
if call('EXISTS', P .. 'place:' .. id) == 1 then return 0 end
put(id, ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), time_of(ARGV[2]))
return 1`,
  { grows: true }
)

/**
 * `now, limit, expert, host, holder`: `[id, token, alone, …]`. Beside those of the expert it takes those whose files this host
 * has, and those whose files went with a host that does not come back.
 */
export const CLAIM = redisScript(
  `${LINE}
local now, limit, expert = time_of(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
lapse(now)
local lines = call('SMEMBERS', P .. 'orphans:' .. expert)
lines[#lines + 1] = expert
lines[#lines + 1] = expert .. ' @' .. ARGV[5]
local found, sources = {}, 0
for _, line in ipairs(lines) do
  local wait, late = P .. 'wait:' .. line, P .. 'late:' .. line
  local due = call('ZRANGEBYSCORE', late, '-inf', exact(now), 'LIMIT', 0, 1000)
  for _, id in ipairs(due) do
    call('ZREM', late, id)
    call('ZADD', wait, call('HGET', P .. 'place:' .. id, 'rank'), id)
  end
  if limit > 0 then
    local first = call('ZRANGE', wait, 0, limit - 1, 'WITHSCORES')
    if #first > 0 then sources = sources + 1 end
    for i = 1, #first, 2 do found[#found + 1] = { first[i], tonumber(first[i + 1]), wait } end
  end
end
if sources > 1 then table.sort(found, function(a, b) return a[2] < b[2] end) end
local count = math.min(limit, #found)
if count == 0 then return {} end
-- Past every token that was given before, also when the server has lost the last of them.
local token = math.max(tonumber(call('GET', P .. 'token') or 0), math.floor(now * 1000))
call('SET', P .. 'token', exact(token + count))
local claims = {}
for i = 1, count do
  local id = found[i][1]
  call('ZREM', found[i][3], id)
  call('ZADD', P .. 'held', exact(now + ${LEASE_MS}), id)
  local text = exact(token + i)
  call('HSET', P .. 'place:' .. id, 'token', text, 'holder', ARGV[6])
  claims[#claims + 1] = id
  claims[#claims + 1] = text
  claims[#claims + 1] = call('HGET', P .. 'place:' .. id, 'alone')
end
return claims`,
  { grows: false }
)

/** `now, id, token, …`: the places in the list, from 0, of those that are lost. */
export const RENEW = redisScript(
  `${LINE}
local now, lost = time_of(ARGV[2]), {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local place = call('HMGET', P .. 'place:' .. id, 'token', 'line')
  if place[1] == ARGV[i + 1] then
    call('ZREM', P .. 'wait:' .. place[2], id)
    call('ZADD', P .. 'held', exact(now + ${LEASE_MS}), id)
  else
    lost[#lost + 1] = (i - 3) / 2
  end
end
return lost`,
  { grows: false }
)

/** `id, token`. */
export const DONE = redisScript(
  `${LINE}
local id = ARGV[2]
local place = call('HMGET', P .. 'place:' .. id, 'token', 'line')
if place[1] ~= ARGV[3] then return 0 end
step_out(id, place[2])
call('DEL', P .. 'place:' .. id)
return 1`,
  { grows: false }
)

/** `now, id, token, alone, priority, due`. */
export const RELEASE = redisScript(
  `${LINE}
local id = ARGV[3]
local place = call('HMGET', P .. 'place:' .. id, 'token', 'line')
if place[1] ~= ARGV[4] then return 0 end
step_out(id, place[2])
put(id, place[2], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), time_of(ARGV[2]))
return 1`,
  { grows: false }
)

/** `id`. */
export const DROP = redisScript(
  `${LINE}
local id = ARGV[2]
local line = call('HGET', P .. 'place:' .. id, 'line')
if not line then return 0 end
step_out(id, line)
call('DEL', P .. 'place:' .. id)
return 1`,
  { grows: false }
)

/** `now, host, absent milliseconds, holder`: `[line, count, …]`; notes that the host is there. */
export const WAITING = redisScript(
  `${LINE}
lapse(time_of(ARGV[2]))
local server = server_ms()
call('ZADD', P .. 'hosts', exact(server), ARGV[3])
if call('SADD', P .. 'holders:' .. ARGV[3], ARGV[5]) == 1 then call('PEXPIRE', P .. 'holders:' .. ARGV[3], ${HOLDERS_MS}) end
local found = {}
for _, line in ipairs(call('SMEMBERS', P .. 'lines')) do
  local count = call('ZCARD', P .. 'wait:' .. line) + call('ZCARD', P .. 'late:' .. line)
  local expert, host = string.match(line, '^(.-) @(.+)$')
  if count > 0 then
    found[#found + 1] = line
    found[#found + 1] = count
  else
    call('SREM', P .. 'lines', line)
  end
  if host then
    local seen = tonumber(call('ZSCORE', P .. 'hosts', host) or 0)
    local is_orphan = count > 0 and server - seen > tonumber(ARGV[4])
    call(is_orphan and 'SADD' or 'SREM', P .. 'orphans:' .. expert, line)
  end
end
return found`,
  { grows: false }
)

/** `host`: the connections that it has had. */
export const HOLDERS = redisScript(`return call('SMEMBERS', P .. 'holders:' .. ARGV[2])`, {
  grows: false
})

/** `now, host, holder, gone…`: says that the host has that connection, and ends the claims of those that are gone. */
export const TAKE_PLACE = redisScript(
  `${LINE}
local now, holders, is_gone = time_of(ARGV[2]), P .. 'holders:' .. ARGV[3], {}
call('SADD', holders, ARGV[4])
call('PEXPIRE', holders, ${HOLDERS_MS})
for i = 5, #ARGV do
  call('SREM', holders, ARGV[i])
  is_gone[ARGV[i]] = true
end
if #ARGV == 4 then return 0 end
for _, id in ipairs(call('ZRANGE', P .. 'held', 0, -1)) do
  local place = call('HMGET', P .. 'place:' .. id, 'holder', 'line', 'rank')
  if place[1] and is_gone[place[1]] then
    call('ZREM', P .. 'held', id)
    stand(id, place[2], place[3], 0, now)
  end
end
return 1`,
  { grows: false }
)

export const lineScripts = [PUSH, CLAIM, RENEW, DONE, RELEASE, DROP, WAITING, HOLDERS, TAKE_PLACE]
