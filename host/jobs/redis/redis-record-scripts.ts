import { LIST_BYTES } from '../job-records.ts'
import { LINE } from './redis-line-scripts.ts'
import { redisScript } from './redis-script.ts'
import { TELL_WEBHOOK } from './redis-webhook-scripts.ts'
import { JOB_FIELDS } from './stored-job.ts'

/** Events of one job that are kept for those who come back; after its end so long, milliseconds. */
const KEPT_EVENTS_MS = 60_000
/** What a host may take from the record of a job to its place in line, milliseconds. */
const UNPLACED_MS = 10_000
/** Jobs that one call forgets or mends. */
const STEP = 100

/**
 * The records. A job is a hash; `by:` its expert and its status is a sorted set of such jobs by their last change, and
 * `ended` one of all that have ended, by when. `key:` holds the id of the job that has an idempotency key, `items:` the
 * answers to items of a list, `events:` what was told of it last. `unplaced` has jobs that were not yet seen in line.
 */
const RECORDS = `
local gone, gone_files = {}, {}

local function is_final(status) return status ~= 'queued' and status ~= 'running' end

local function is_over(id, horizon)
  local job = call('HMGET', P .. 'job:' .. id, 'status', 'finished')
  return job[1] and is_final(job[1]) and tonumber(job[2]) <= horizon
end

local function forget(id)
  local job = call('HMGET', P .. 'job:' .. id, 'expert', 'status', 'bytes', 'key', 'file')
  call('ZREM', P .. 'ended', id)
  if not job[1] then return end
  call('ZREM', P .. 'by:' .. job[1] .. ':' .. job[2], id)
  call('DECRBY', P .. 'ended:bytes', job[3])
  if job[4] ~= '' then call('DEL', P .. 'key:' .. job[1] .. ':' .. job[4]) end
  call('DEL', P .. 'job:' .. id, P .. 'items:' .. id, P .. 'events:' .. id)
  gone[#gone + 1] = id
  if job[5] then gone_files[#gone_files + 1] = id end
end

-- The hosts that have their files are told.
local function tell_gone()
  if #gone_files > 0 then call('PUBLISH', P .. 'forgotten', cjson.encode(gone_files)) end
end
`

/**
 * `now, horizon, id, expert, key, line, status, created, started, attempts, priority, bytes, fixed, bodies, progress, webhook`:
 * `[forgotten ids, id of the key's holder, or '' , whether the id is taken]`.
 */
export const CREATE = redisScript(
  `${LINE}${RECORDS}
local horizon, id, expert, key = tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local name = P .. 'key:' .. expert .. ':' .. key
if key ~= '' then
  local holder = call('GET', name)
  if holder and is_over(holder, horizon) then
    forget(holder)
  elseif holder then
    return { gone, holder, 0 }
  end
end
if call('EXISTS', P .. 'job:' .. id) == 1 then
  if not is_over(id, horizon) then return { gone, '', 1 } end
  forget(id)
end
call('HSET', P .. 'job:' .. id, 'expert', expert, 'key', key, 'line', ARGV[7], 'status', ARGV[8],
  'created', ARGV[9], 'started', ARGV[10], 'finished', '', 'attempts', ARGV[11], 'priority', ARGV[12],
  'bytes', ARGV[13], 'fixed', ARGV[14], 'bodies', ARGV[15], 'progress', ARGV[16], 'token', '0')
if ARGV[17] ~= '' then call('HSET', P .. 'job:' .. id, 'webhook', ARGV[17]) end
call('SADD', P .. 'experts', expert)
call('ZADD', P .. 'by:' .. expert .. ':' .. ARGV[8], ARGV[9], id)
call('ZADD', P .. 'unplaced', exact(server_ms()), id)
if key ~= '' then call('SET', name, id) end
tell_gone()
return { gone, '', 0 }`,
  { grows: true }
)

/** `id, …`: the fields of each, or none. */
export const READ = redisScript(
  `local found = {}
for i = 2, #ARGV do
  found[#found + 1] = call('HMGET', P .. 'job:' .. ARGV[i], ${JOB_FIELDS.map((name) => `'${name}'`).join()})
end
return found`,
  { grows: false }
)

const PATCH_BODY = `${RECORDS}
local id, token, name = ARGV[2], tonumber(ARGV[3]), P .. 'job:' .. ARGV[2]
local job = call('HMGET', name, 'status', 'token', 'expert', 'created', 'finished', 'webhook')
if not job[1] or is_final(job[1]) then return { gone, 0, 0 } end
if token > 0 and token < tonumber(job[2]) then return { gone, 0, 0 } end
if token > tonumber(job[2]) then call('HSET', name, 'token', ARGV[3]) end
if #ARGV > 8 then call('HSET', name, unpack(ARGV, 9)) end
local now = call('HMGET', name, 'status', 'finished')
local status, finished = now[1], now[2] ~= '' and now[2] or job[4]
local notices = 0
if job[6] then
  ${TELL_WEBHOOK}
end
if status == job[1] then return { gone, 1, notices } end
call('ZREM', P .. 'by:' .. job[3] .. ':' .. job[1], id)
if not is_final(status) then
  call('ZADD', P .. 'by:' .. job[3] .. ':' .. status, job[4], id)
  return { gone, 1, notices }
end
call('HSET', name, 'finished', finished)
call('ZADD', P .. 'by:' .. job[3] .. ':' .. status, finished, id)
call('ZADD', P .. 'ended', finished, id)
call('ZREM', P .. 'unplaced', id)
call('DEL', P .. 'items:' .. id)
call('PEXPIRE', P .. 'events:' .. id, ${KEPT_EVENTS_MS})
local bytes = call('INCRBY', P .. 'ended:bytes', call('HINCRBY', name, 'bytes', ARGV[7]))
local count, most, most_bytes = call('ZCARD', P .. 'ended'), tonumber(ARGV[5]), tonumber(ARGV[6])
while count > 0 and (count > most or bytes > most_bytes) do
  forget(call('ZRANGE', P .. 'ended', 0, 0)[1])
  bytes = tonumber(call('GET', P .. 'ended:bytes'))
  count = count - 1
end
tell_gone()
local from = '{"from":"' .. ARGV[4] .. '"'
call('PUBLISH', P .. 'told:' .. id, from .. ',"hasEnded":true}')
if status == 'canceled' then call('PUBLISH', P .. 'canceled', from .. ',"id":' .. ARGV[8] .. '}') end
return { gone, 1, notices }`

/**
 * `id, token, from, most jobs, most bytes, bytes more, id as JSON, field, value, …`: `[forgotten ids, whether it may,
 * how many notices its webhook has got by it]`.
 * From is the tag of the connection, in which those who hear of it know themselves.
 */
export const PATCH = redisScript(PATCH_BODY, { grows: false })
/** The same for an end, which brings the answer: refused when Redis is full. */
export const END = redisScript(PATCH_BODY, { grows: true })

/** `id, token, place, text`. */
export const KEEP_ITEM = redisScript(
  `${RECORDS}
local id, token, name = ARGV[2], tonumber(ARGV[3]), P .. 'job:' .. ARGV[2]
local job = call('HMGET', name, 'status', 'token')
if not job[1] or is_final(job[1]) then return 0 end
if token > 0 and token < tonumber(job[2]) then return 0 end
if token > tonumber(job[2]) then call('HSET', name, 'token', ARGV[3]) end
call('HSET', P .. 'items:' .. id, ARGV[4], ARGV[5])
return 1`,
  { grows: false }
)

/** `id`. */
export const ITEMS = redisScript(`return call('HGETALL', P .. 'items:' .. ARGV[2])`, {
  grows: false
})

/** `horizon, before, limit, number of experts, experts…, statuses…`: ids, the newest first. */
export const LIST = redisScript(
  `${RECORDS}
local limit, many = tonumber(ARGV[4]), tonumber(ARGV[5])
local experts = many == 0 and call('SMEMBERS', P .. 'experts') or { unpack(ARGV, 6, 5 + many) }
local found = {}
for _, expert in ipairs(experts) do
  for i = 6 + many, #ARGV do
    local least = is_final(ARGV[i]) and '(' .. ARGV[2] or '-inf'
    local name = P .. 'by:' .. expert .. ':' .. ARGV[i]
    local some = call('ZREVRANGEBYSCORE', name, ARGV[3], least, 'WITHSCORES', 'LIMIT', 0, limit)
    for at = 1, #some, 2 do found[#found + 1] = { some[at], tonumber(some[at + 1]) } end
  end
end
table.sort(found, function(a, b)
  if a[2] ~= b[2] then return a[2] > b[2] end
  return a[1] > b[1]
end)
local ids, newer = {}, 0
for i = 1, math.min(limit, #found) do
  if newer >= ${LIST_BYTES} then break end
  ids[i] = found[i][1]
  newer = newer + tonumber(call('HGET', P .. 'job:' .. ids[i], 'bytes') or 0)
end
return ids`,
  { grows: false }
)

/** `horizon, number of experts, experts…, statuses…`: how many of each status. */
export const COUNT = redisScript(
  `${RECORDS}
local many = tonumber(ARGV[3])
local experts = many == 0 and call('SMEMBERS', P .. 'experts') or { unpack(ARGV, 4, 3 + many) }
local counts = {}
for i = 4 + many, #ARGV do
  local count = 0
  for _, expert in ipairs(experts) do
    local name = P .. 'by:' .. expert .. ':' .. ARGV[i]
    if is_final(ARGV[i]) then
      count = count + call('ZCOUNT', name, '(' .. ARGV[2], '+inf')
    else
      count = count + call('ZCARD', name)
    end
  end
  counts[#counts + 1] = count
end
return counts`,
  { grows: false }
)

/**
 * `now, horizon`: forgets what ended by then, and puts in line what a host has recorded and, it seems, could not
 * place any more. Gives forgotten ids.
 */
export const EXPIRE = redisScript(
  `${LINE}${RECORDS}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'ended', '-inf', ARGV[3], 'LIMIT', 0, ${STEP})) do forget(id) end
tell_gone()
local since = exact(server_ms() - ${UNPLACED_MS})
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'unplaced', '-inf', since, 'LIMIT', 0, ${STEP})) do
  call('ZREM', P .. 'unplaced', id)
  local job = call('HMGET', P .. 'job:' .. id, 'status', 'line', 'priority')
  if job[1] and not is_final(job[1]) and call('EXISTS', P .. 'place:' .. id) == 0 then
    put(id, job[2], 0, tonumber(job[3]), 0, time_of(ARGV[2]))
  end
end
return gone`,
  { grows: false }
)

/** `count`: forgets so many of those that ended first. Gives forgotten ids. */
export const MAKE_ROOM = redisScript(
  `${RECORDS}
for _, id in ipairs(call('ZRANGE', P .. 'ended', 0, tonumber(ARGV[2]) - 1)) do forget(id) end
tell_gone()
return gone`,
  { grows: false }
)

export const recordScripts = [
  ...[CREATE, READ, PATCH, END, KEEP_ITEM, ITEMS, LIST, COUNT, EXPIRE, MAKE_ROOM]
]
