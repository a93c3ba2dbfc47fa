import { LEASE_MS } from '../dispatch.ts'
import { MOST_FAILED, MOST_PARAMS_BYTES, MOST_RESULT_BYTES } from '../webhook-outbox.ts'
import { redisScript } from './redis-script.ts'
import { JOB_FIELDS } from './stored-job.ts'

/** Of a notice's hash beside the copy of its job, in the order in which they are read. */
export const NOTICE_FIELDS = [
  ...['job', 'event', 'url', 'origin', 'state', 'made', 'next', 'tries', 'why', 'leftOut']
] as const

/** Of one origin no more are looked at in one claim, nor of more origins. */
const LOOK = 16
const LOOK_ORIGINS = 64
/** Others have their turn between. */
export const FORGOTTEN_AT_ONCE = 1000

/**
 * The outbox. A notice is a hash, `hook:` its id, with a copy of its job; ids grow with time. `hooks:waiting` and
 * `hooks:failed` have them in their order, `hooks:given` those that were given up by when. Those of a job that wait
 * stand in `hooks:of:` it. The first of them alone is in `hooks:due:` its origin, by when it may be claimed: when it
 * is to be tried, or while a host tries it, when that host's lease ends. `hooks:origins` has each origin by
 * its earliest. `hooks:held:` a connection has what it has claimed.
 */
const OUTBOX = `
local function mark(origin)
  local first = call('ZRANGE', P .. 'hooks:due:' .. origin, 0, 0, 'WITHSCORES')
  if first[1] then
    call('ZADD', P .. 'hooks:origins', first[2], origin)
  else
    call('ZREM', P .. 'hooks:origins', origin)
  end
end

local function be_due(id, origin, at)
  call('ZADD', P .. 'hooks:due:' .. origin, at, id)
  mark(origin)
end

local function let_go(id)
  local holder = call('HGET', P .. 'hook:' .. id, 'holder')
  if not holder then return end
  call('SREM', P .. 'hooks:held:' .. holder, id)
  call('HDEL', P .. 'hook:' .. id, 'holder')
end

-- Behind an older one of its job.
local function stand_behind(id)
  local origin = call('HGET', P .. 'hook:' .. id, 'origin')
  call('HSET', P .. 'hook:' .. id, 'next', '')
  call('ZREM', P .. 'hooks:due:' .. origin, id)
  mark(origin)
end

-- The first of a job has its turn.
local function promote(job, now)
  local first = call('ZRANGE', P .. 'hooks:of:' .. job, 0, 0)[1]
  if not first then return end
  local next = call('HMGET', P .. 'hook:' .. first, 'next', 'origin')
  if next[1] == '' then
    call('HSET', P .. 'hook:' .. first, 'next', now)
    be_due(first, next[2], now)
  end
end

-- It waits no more; the next of its job has its turn.
local function step_out(id, job, origin, bytes, now)
  let_go(id)
  call('ZREM', P .. 'hooks:waiting', id)
  call('ZREM', P .. 'hooks:of:' .. job, id)
  call('ZREM', P .. 'hooks:due:' .. origin, id)
  call('DECRBY', P .. 'hooks:bytes', bytes)
  mark(origin)
  promote(job, now)
end
`

const quoted = (names: readonly string[]) => names.map((name) => `'${name}'`).join()

/**
 * What a job's webhook is told of a patch, in the script that applies it: it knows `id`, `name` of the job's hash,
 * `job[6]` the webhook, `status`, `finished` and the patch from `ARGV[9]`, and counts `notices`.
 */
export const TELL_WEBHOOK = `${OUTBOX}
  local wish = cjson.decode(job[6])
  local function enter(event)
    local is_wanted = false
    for _, one in ipairs(wish.events) do is_wanted = is_wanted or one == event end
    if not is_wanted then return end
    notices = notices + 1
    local is_end = event == 'completed'
    local copy, row = { 'HSET', '' }, call('HMGET', name, ${quoted(JOB_FIELDS)})
    local left_out, bytes = '', 500
    for i, field in ipairs({ ${quoted(JOB_FIELDS)} }) do
      local value = row[i]
      if field == 'key' or field == 'webhook' then value = false end
      if is_end then
        if field == 'bodies' then value = '' end
        if field == 'finished' then value = finished end
        if field == 'text' and value then
          if #value > ${MOST_RESULT_BYTES} then left_out, value = 'result', 'null' end
          bytes = bytes + #value
        end
      else
        if field == 'end' or field == 'text' then value = false end
        if field == 'finished' then value = '' end
        if field == 'status' then value = 'running' end
        if field == 'bodies' then
          if #value > ${MOST_PARAMS_BYTES} then left_out, value = 'params', '' end
          bytes = bytes + #value
        end
      end
      if value then
        copy[#copy + 1] = field
        copy[#copy + 1] = value
      end
    end
    local micros = math.floor(server_ms() * 1000)
    local turn = math.max(tonumber(call('GET', P .. 'hooks:turn') or 0) + 1, micros)
    call('SET', P .. 'hooks:turn', exact(turn))
    local chance = redis.sha1hex((call('GET', P .. 'born') or '') .. id .. exact(turn))
    local new, at = string.format('msg_%016.0f', turn) .. string.sub(chance, 1, 12), exact(math.floor(micros / 1000))
    local of_job = P .. 'hooks:of:' .. id
    local line = call('ZRANGE', of_job, 0, -1, 'WITHSCORES')
    local place, next, tries, why, due, holder = exact(turn), #line == 0 and at or '', '0', '', at, false
    for i = 1, #line, 2 do
      local old = line[i]
      local before = call('HMGET', P .. 'hook:' .. old, 'event', 'next', 'tries', 'why', 'bytes', 'holder', 'origin')
      if event == 'progress' and before[1] == event then
        -- The newer one stands in its place, and waits as long as it had to.
        place, next, tries, why, holder = line[i + 1], before[2], before[3], before[4], before[6]
        due = call('ZSCORE', P .. 'hooks:due:' .. before[7], old) or at
        call('ZREM', P .. 'hooks:due:' .. before[7], old)
        call('ZREM', of_job, old)
        call('ZREM', P .. 'hooks:waiting', old)
        call('DECRBY', P .. 'hooks:bytes', before[5])
        let_go(old)
        call('DEL', P .. 'hook:' .. old)
      end
    end
    copy[2] = P .. 'hook:' .. new
    for _, value in ipairs({ 'job', id, 'event', event, 'url', wish.url, 'origin', wish.origin, 'state', 'waiting',
      'made', at, 'next', next, 'tries', tries, 'why', why, 'leftOut', left_out, 'bytes', bytes }) do
      copy[#copy + 1] = value
    end
    call(unpack(copy))
    if holder then
      call('HSET', P .. 'hook:' .. new, 'holder', holder)
      call('SADD', P .. 'hooks:held:' .. holder, new)
    end
    call('INCRBY', P .. 'hooks:bytes', bytes)
    call('ZADD', P .. 'hooks:waiting', exact(turn), new)
    call('ZADD', of_job, place, new)
    if next ~= '' then be_due(new, wish.origin, due) end
  end
  local has_status, has_progress = false, false
  for i = 9, #ARGV, 2 do
    if ARGV[i] == 'status' then has_status = true end
    if ARGV[i] == 'progress' and ARGV[i + 1] ~= '' then has_progress = true end
  end
  local told = call('HMGET', name, 'attempts', 'told')
  if has_status and status ~= 'queued' and tonumber(told[1]) > 0 and not told[2] then
    call('HSET', name, 'told', '1')
    enter('start')
  end
  if is_final(status) then enter('completed') end
  if has_progress and status == 'running' then enter('progress') end
`

/**
 * `now, holder, busy origins as JSON, busy jobs as JSON`: `[id, origin, job, due, …]`, what may be claimed; of each
 * origin the longest due.
 */
export const LOOK_DUE = redisScript(
  `local now, held = ARGV[2], P .. 'hooks:held:' .. ARGV[3]
local busy, found, origins = {}, {}, 0
for _, origin in ipairs(cjson.decode(ARGV[4])) do busy['o' .. origin] = true end
for _, job in ipairs(cjson.decode(ARGV[5])) do busy['j' .. job] = true end
local function add(id)
  local row = call('HMGET', P .. 'hook:' .. id, 'origin', 'job', 'next')
  if not row[1] or busy['o' .. row[1]] or busy['j' .. row[2]] then return end
  for i, value in ipairs({ id, row[1], row[2], row[3] }) do found[#found + 1] = value end
end
-- What this host holds and does not try any more: what became of it could not be written.
for _, id in ipairs(call('SMEMBERS', held)) do add(id) end
local from = 0
while origins < ${LOOK_ORIGINS} do
  local some = call('ZRANGEBYSCORE', P .. 'hooks:origins', '-inf', now, 'LIMIT', from, ${LOOK_ORIGINS})
  if #some == 0 then break end
  from = from + #some
  for _, origin in ipairs(some) do
    if not busy['o' .. origin] then
      origins = origins + 1
      local due = call('ZRANGEBYSCORE', P .. 'hooks:due:' .. origin, '-inf', now, 'LIMIT', 0, ${LOOK})
      for _, id in ipairs(due) do add(id) end
    end
  end
end
return found`,
  { grows: false }
)

/** `now, holder, id, …`: of each that may still be claimed `[id, notice fields…, job fields…]`. */
export const CLAIM_NOTICES = redisScript(
  `${OUTBOX}
local now, holder = ARGV[2], ARGV[3]
local held, claims = P .. 'hooks:held:' .. holder, {}
for i = 4, #ARGV do
  local id, name = ARGV[i], P .. 'hook:' .. ARGV[i]
  local row = call('HMGET', name, 'origin', 'state', 'holder')
  local due = row[1] and call('ZSCORE', P .. 'hooks:due:' .. row[1], id)
  if due and row[2] == 'waiting' and (row[3] == holder or tonumber(due) <= tonumber(now)) then
    let_go(id)
    call('HSET', name, 'holder', holder)
    call('SADD', held, id)
    be_due(id, row[1], exact(tonumber(now) + ${LEASE_MS}))
    local claim = call('HMGET', name, ${quoted([...NOTICE_FIELDS, ...JOB_FIELDS])})
    table.insert(claim, 1, id)
    claims[#claims + 1] = claim
  end
end
call('PEXPIRE', held, ${2 * LEASE_MS})
return claims`,
  { grows: false }
)

/** `now, id`: it is forgotten. */
export const DELIVERED = redisScript(
  `${OUTBOX}
local id, name = ARGV[3], P .. 'hook:' .. ARGV[3]
local row = call('HMGET', name, 'job', 'origin', 'bytes', 'state')
if row[4] ~= 'waiting' then return 0 end
step_out(id, row[1], row[2], row[3], ARGV[2])
call('DEL', name)
return 1`,
  { grows: false }
)

/**
 * What a try that failed is about: `id`, `name` of its hash, and its `row`. It may be the newer progress that took its
 * place meanwhile, and it is none when another host tries it by now.
 */
const TRIED = (id: string, job: string, event: string, holder: string, fields: string) => `
local id, row = ${id}, nil
if call('EXISTS', P .. 'hook:' .. id) == 0 and ${event} == 'progress' then
  for _, other in ipairs(call('ZRANGE', P .. 'hooks:of:' .. ${job}, 0, -1)) do
    if call('HGET', P .. 'hook:' .. other, 'event') == ${event} then id = other end
  end
end
local name = P .. 'hook:' .. id
row = call('HMGET', name, 'state', 'holder', ${fields})
if row[1] ~= 'waiting' or (row[2] and row[2] ~= ${holder}) then return 0 end
`

/** `now, at, id, job, event, holder, why`: it is tried again then, or after an older one that came back meanwhile. */
export const TRY_LATER = redisScript(
  `${OUTBOX}
${TRIED('ARGV[4]', 'ARGV[5]', 'ARGV[6]', 'ARGV[7]', "'origin', 'job'")}
let_go(id)
call('HSET', name, 'next', ARGV[3], 'why', ARGV[8])
call('HINCRBY', name, 'tries', 1)
if call('ZRANGE', P .. 'hooks:of:' .. row[4], 0, 0)[1] == id then
  be_due(id, row[3], ARGV[3])
else
  stand_behind(id)
  promote(row[4], ARGV[2])
end
return 1`,
  { grows: false }
)

/** `now, id, job, event, holder, why`. */
export const GIVE_UP = redisScript(
  `${OUTBOX}
${TRIED('ARGV[3]', 'ARGV[4]', 'ARGV[5]', 'ARGV[6]', "'job', 'origin', 'bytes'")}
local place = call('ZSCORE', P .. 'hooks:waiting', id)
step_out(id, row[3], row[4], row[5], ARGV[2])
call('HSET', name, 'state', 'failed', 'next', ARGV[2], 'why', ARGV[7])
call('HINCRBY', name, 'tries', 1)
call('ZADD', P .. 'hooks:failed', place, id)
call('ZADD', P .. 'hooks:given', ARGV[2], id)
return 1`,
  { grows: false }
)

/** `now, id`: whether there is one, which then is tried as if it were new. */
export const RETRY = redisScript(
  `${OUTBOX}
local now, id, name = ARGV[2], ARGV[3], P .. 'hook:' .. ARGV[3]
local row = call('HMGET', name, 'state', 'job', 'origin', 'bytes', 'holder')
if not row[1] then return 0 end
call('HSET', name, 'tries', '0')
local of_job = P .. 'hooks:of:' .. row[2]
if row[1] == 'failed' then
  local place = call('ZSCORE', P .. 'hooks:failed', id)
  call('ZREM', P .. 'hooks:failed', id)
  call('ZREM', P .. 'hooks:given', id)
  call('HSET', name, 'state', 'waiting', 'next', '')
  call('ZADD', P .. 'hooks:waiting', place, id)
  call('INCRBY', P .. 'hooks:bytes', row[4])
  local first = call('ZRANGE', of_job, 0, 0, 'WITHSCORES')
  call('ZADD', of_job, place, id)
  if first[1] and tonumber(first[2]) < tonumber(place) then return 1 end
  -- One that is on its way keeps its turn until that has ended.
  if first[1] and call('HEXISTS', P .. 'hook:' .. first[1], 'holder') == 1 then return 1 end
  if first[1] then stand_behind(first[1]) end
end
if call('ZRANGE', of_job, 0, 0)[1] == id and not row[5] then
  call('HSET', name, 'next', now)
  be_due(id, row[3], now)
end
return 1`,
  { grows: false }
)

/** `which, after, limit`: `[id, notice fields…, expert]` of those behind that place. */
export const LIST_NOTICES = redisScript(
  `local found = {}
for i, id in ipairs(call('ZRANGEBYSCORE', P .. 'hooks:' .. ARGV[2], '(' .. ARGV[3], '+inf', 'LIMIT', 0, ARGV[4])) do
  found[i] = call('HMGET', P .. 'hook:' .. id, ${quoted([...NOTICE_FIELDS, 'expert'])})
  table.insert(found[i], 1, id)
end
return found`,
  { grows: false }
)

/** `id`: its notice fields, and the expert. */
export const READ_NOTICE = redisScript(
  `return call('HMGET', P .. 'hook:' .. ARGV[2], ${quoted([...NOTICE_FIELDS, 'expert'])})`,
  { grows: false }
)

/** `now`: `[when the next is due, or '', how many wait, their bytes]`. */
export const WAITING_NOTICES = redisScript(
  `local next = call('ZRANGEBYSCORE', P .. 'hooks:origins', '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return { next[2] or '', call('ZCARD', P .. 'hooks:waiting'), tonumber(call('GET', P .. 'hooks:bytes') or 0) }`,
  { grows: false }
)

/** `before`: forgets what was given up by then, and the oldest of too many. Gives how many. */
export const FORGET_FAILED = redisScript(
  `local given = P .. 'hooks:given'
local gone = call('ZRANGEBYSCORE', given, '-inf', ARGV[2], 'LIMIT', 0, ${FORGOTTEN_AT_ONCE})
local over = math.min(${FORGOTTEN_AT_ONCE}, call('ZCARD', given) - ${MOST_FAILED})
if over > #gone then gone = call('ZRANGE', given, 0, over - 1) end
for _, id in ipairs(gone) do
  call('ZREM', given, id)
  call('ZREM', P .. 'hooks:failed', id)
  call('DEL', P .. 'hook:' .. id)
end
return #gone`,
  { grows: false }
)

/** `now, holder`: what it holds is for the others. */
export const LET_GO = redisScript(
  `${OUTBOX}
for _, id in ipairs(call('SMEMBERS', P .. 'hooks:held:' .. ARGV[3])) do
  local origin = call('HGET', P .. 'hook:' .. id, 'origin')
  let_go(id)
  if origin then be_due(id, origin, ARGV[2]) end
end
return 1`,
  { grows: false }
)

export const webhookScripts = [
  ...[LOOK_DUE, CLAIM_NOTICES, DELIVERED, TRY_LATER, GIVE_UP, RETRY, LIST_NOTICES, READ_NOTICE],
  ...[WAITING_NOTICES, FORGET_FAILED, LET_GO]
]
