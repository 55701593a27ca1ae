-- What the scripts share. KEYS[1] is the prefix of all keys, with the hash tag that keeps them together in a cluster;
-- KEYS[2] is where the answer to this question may be kept.
-- docs/internals/queue.md says what each key holds.
local P = KEYS[1]
local GROUP = 'workers'
local OWN = '@' .. string.rep('%x', 32) .. '$' -- of a worker's own stream: @CONSUMER after the need
local SILENT = 120 -- s; a worker that has said nothing for so long is not there
local LONGEST = 3600000 -- ms; an entry that is idle for so long may be taken by others

local function call(...) return redis.call(...) end

local function now()
  local time = call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- What the script changes from here on does not go into the append-only file, so nobody waits for the disk, and it is
-- gone with the server.
local function unwritten() redis.set_repl(redis.REPL_NONE) end

local function text(number) return string.format('%.6f', number) end

-- What `work` returns. The same question may come again, because its answer was lost on its way: it has the same answer
-- then, and nothing is done a second time.
local function once(work)
  local known = call('GET', KEYS[2])
  if known then return cjson.decode(known)[1] end
  local answer = work()
  call('SET', KEYS[2], cjson.encode({answer}), 'EX', 60)
  return answer
end

local function job_key(id) return P .. 'job:' .. id end
local function items_key(id) return P .. 'items:' .. id end
local function stream_key(class, need) return P .. 'work:' .. class .. (need ~= '' and ':' .. need or '') end
local function ring_key(class, need) return P .. 'ring:' .. class .. (need ~= '' and ':' .. need or '') end
local function waiting_key(id, need) return P .. 'waiting:' .. id .. ':' .. need end

local function publish(event, id) call('PUBLISH', P .. 'events', event .. ' ' .. id) end

-- Moves an item from one state to another, in all the counts. Calls are counted apart: nobody sees them as jobs.
local function count(id, class, from, to)
  local names = {[0] = 'queued', 'running', 'done', 'failed'}
  if from then
    call('HINCRBY', job_key(id), names[from], -1)
    call('HINCRBY', P .. 'counts', class .. ':' .. names[from], -1)
  end
  if to then
    call('HINCRBY', job_key(id), names[to], 1)
    call('HINCRBY', P .. 'counts', class .. ':' .. names[to], 1)
  end
end

-- A worker's labels as a set, and whether they are what an item needs: "memory=N" is at least so much.
local function labels_of(list)
  local labels = {memory = 0}
  for label in string.gmatch(list, '[^,]+') do
    labels[label] = true
    labels.memory = tonumber(string.match(label, '^memory=(%d+)$')) or labels.memory
  end
  return labels
end

local function suits(need, labels)
  for label in string.gmatch(need, '[^,]+') do
    local least = tonumber(string.match(label, '^memory=(%d+)$'))
    if least and labels.memory < least or not least and not labels[label] then return false end
  end
  return true
end

local function make_stream(class, need)
  local answer = redis.pcall('XGROUP', 'CREATE', stream_key(class, need), GROUP, '0', 'MKSTREAM')
  if answer.err and not string.find(answer.err, 'BUSYGROUP') then error(answer) end -- otherwise it is there
end

-- Whether one of the workers that are there now, other than those in the list `but`, has what an item needs.
local function is_somebodys(need, but)
  for _, consumer in ipairs(call('ZRANGEBYSCORE', P .. 'here', text(now() - SILENT), '+inf')) do
    local counts = not but or not string.find(but, consumer, 1, true)
    if counts and suits(need, labels_of(call('HGET', P .. 'labels', consumer) or '')) then return true end
  end
  return false
end

-- The need without a memory.
local function without_memory(need)
  local labels = {}
  for label in string.gmatch(need, '[^,]+') do
    if not string.match(label, '^memory=%d+$') then labels[#labels + 1] = label end
  end
  return labels
end

-- A worker that knows the item's voice, has what the item needs and had nothing to do a moment ago. It gets one item by
-- that.
local function knower(need, id, position)
  local voice = call('HGET', items_key(id), 'v' .. position)
  local who = voice and call('GET', P .. 'knows:' .. voice)
  local since = who and call('ZSCORE', P .. 'idle', who)
  if not since or tonumber(since) < now() - 10 then return nil end
  if not suits(need, labels_of(call('HGET', P .. 'labels', who) or '')) then return nil end
  call('ZREM', P .. 'idle', who)
  return who
end

-- Puts an item on the stream, or aside for a worker that knows its voice, on one of its own. Returns whether it is on
-- the stream.
local function offer(class, need, id, position)
  local who = knower(need, id, position)
  local own = who and need .. '@' .. who or need
  if who then
    make_stream(class, own)
    call('ZADD', P .. 'aside', text(now()), class .. ':' .. own)
    publish('work', id)
  end
  local entry = call('XADD', stream_key(class, own), '*', 'job', id, 'item', position)
  call('HSET', items_key(id), 'e' .. position, who and entry .. '@' .. who or entry)
  return not who
end

-- Puts the waiting items of jobs on the stream, job after job in turn, until `most` are there that nobody has taken.
-- Only these few: a job that comes later has its turn after them.
local function feed(class, need, most)
  local stream = stream_key(class, need)
  if call('SADD', P .. 'streams', class .. ':' .. need) == 1 or call('EXISTS', stream) == 0 then
    make_stream(class, need)
  end
  local pending = call('XPENDING', stream, GROUP)[1]
  local ready = call('XLEN', stream) - pending
  if most == 0 then most = math.max(4, 2 * pending) end
  local ring = ring_key(class, need)
  while ready < most do
    local id = call('LPOP', ring)
    if not id then return end
    local position = call('LPOP', waiting_key(id, need))
    if position then
      if offer(class, need, id, position) then ready = ready + 1 end
      if call('EXISTS', waiting_key(id, need)) == 1 then call('RPUSH', ring, id) end
    end
  end
end

-- Where an item's entry is: the stream and the entry's name there. `entry` is as the item has it: "NAME", or
-- "NAME@CONSUMER" if it was put aside.
local function place_of(class, need, entry)
  local name, who = string.match(entry, '^([^@]*)(.*)$')
  return stream_key(class, need .. who), name
end

local function forget_entry(class, need, entry)
  local stream, name = place_of(class, need, entry)
  call('XACK', stream, GROUP, name)
  call('XDEL', stream, name)
end

-- What was put aside for a worker and not taken is everybody's.
local function release(class, need, consumer)
  local own = need .. '@' .. consumer
  for _, entry in ipairs(call('XRANGE', stream_key(class, own), '-', '+')) do
    local id, position = entry[2][2], entry[2][4]
    if call('HGET', items_key(id), 's' .. position) == '0' then
      forget_entry(class, own, entry[1])
      call('HDEL', items_key(id), 'e' .. position)
      if call('LPUSH', waiting_key(id, need), position) == 1 then call('LPUSH', ring_key(class, need), id) end
      feed(class, need, 1)
      publish('work', id)
    end
  end
end

-- A worker is not there any more.
local function leave(consumer)
  call('ZREM', P .. 'here', consumer)
  call('ZREM', P .. 'idle', consumer)
  call('HDEL', P .. 'labels', consumer)
  for _, name in ipairs(call('ZRANGE', P .. 'aside', 0, -1)) do
    local class, need, who = string.match(name, '^(%a+):(.*)@(%x+)$')
    if who == consumer then release(class, need, consumer) end
  end
end

-- The item's fields if this delivery has it: class, need, entry. nil: it is another's, or over.
local function held(id, position, delivery)
  local item = call('HMGET', items_key(id), 's' .. position, 'd' .. position, 'n' .. position, 'e' .. position)
  if item[1] ~= '1' or item[2] ~= delivery then return nil, item end
  return {class = call('HGET', job_key(id), 'class'), need = item[3], entry = item[4]}, item
end

-- Whether somebody listens to a call. Servers of an older version do not say so.
local function is_heard(id)
  return call('EXISTS', P .. 'heard:' .. id) == 1 or call('HGET', job_key(id), 'listens') ~= '1'
end

-- ---- Files ----

-- One reference less to a stored content. When nobody refers to it any more its name is added to `gone`, for the caller
-- to delete it, under a claim for each (claim.lua): until then somebody may refer to it again.
local function let_go(sum, who, gone)
  if not sum or sum == '' then return end
  call('SREM', P .. 'blob:' .. sum, who)
  if call('EXISTS', P .. 'blob:' .. sum) == 0 then
    call('ZADD', P .. 'arriving', text(now()), sum) -- found by the sweep if the caller dies
    gone[#gone + 1] = sum
  end
end

-- false: it is being deleted at the moment.
local function hold(sum, who)
  if call('EXISTS', P .. 'claim:' .. sum) == 1 then return false end
  call('SADD', P .. 'blob:' .. sum, who)
  call('ZREM', P .. 'arriving', sum)
  return true
end

local function remove_file(file, gone)
  local key = P .. 'file:' .. file
  local fields = call('HMGET', key, 'sum', 'bytes')
  if not fields[1] then return end
  call('DEL', key, P .. 'file-jobs:' .. file)
  call('ZREM', P .. 'files', file)
  call('ZREM', P .. 'pending', file)
  call('DECRBY', P .. 'bytes', fields[2])
  let_go(fields[1], 'f' .. file, gone)
end

local function remove_job(id, gone)
  local job = call('HMGET', job_key(id), 'class', 'total', 'repeat')
  local class = job[1]
  if not class then return false end
  local needs = {}
  for position = 0, tonumber(job[2]) - 1 do
    local item = call('HMGET', items_key(id), 's' .. position, 'n' .. position, 'e' .. position)
    needs[item[2]] = true
    if item[3] then forget_entry(class, item[2], item[3]) end
    count(id, class, tonumber(item[1]), nil)
  end
  for need in pairs(needs) do
    call('DEL', waiting_key(id, need))
    call('LREM', ring_key(class, need), 0, id)
    feed(class, need, 1) -- the entry that went may have been the only one there
  end
  for _, file in ipairs(call('HKEYS', P .. 'job-files:' .. id)) do
    local owned = call('HGET', P .. 'job-files:' .. id, file)
    call('SREM', P .. 'file-jobs:' .. file, id)
    if owned == '1' and call('EXISTS', P .. 'file-jobs:' .. file) == 0 then remove_file(file, gone) end
  end
  if job[3] and job[3] ~= '' then call('DEL', P .. 'repeat:' .. job[3]) end
  call('DEL', job_key(id), items_key(id), P .. 'job-files:' .. id, P .. 'live:' .. id, P .. 'heard:' .. id)
  call('ZREM', P .. 'jobs', id)
  call('ZREM', P .. 'finished', id)
  call('ZREM', P .. 'calls', id)
  call('SREM', P .. 'open', id)
  call('ZREM', P .. 'unfinished', id)
  publish('removed', id)
  return true
end

-- The item ended, in one way or the other.
local function conclude(id, position, item, state, result, audio)
  local items = items_key(id)
  call('HSET', items, 's' .. position, state, 'r' .. position, result)
  call('HDEL', items, 'e' .. position)
  if audio ~= '' then
    call('HSET', items, 'a' .. position, audio)
    call('HSET', P .. 'job-files:' .. id, audio, '1')
    call('SADD', P .. 'file-jobs:' .. audio, id)
    call('ZREM', P .. 'pending', audio)
    call('HDEL', P .. 'file:' .. audio, 'pending')
  end
  forget_entry(item.class, item.need, item.entry)
  count(id, item.class, 1, tonumber(state))
  call('HINCRBY', P .. 'counts', 'ended', 1)
  local left = call('HMGET', job_key(id), 'queued', 'running')
  if tonumber(left[1]) + tonumber(left[2]) == 0 then
    local time = text(now())
    call('HSET', job_key(id), 'finished', time)
    call('ZREM', P .. 'unfinished', id)
    if item.class == 'jobs' then
      call('ZADD', P .. 'finished', time, id)
      call('SREM', P .. 'open', id)
    end
  end
  if item.class == 'calls' then
    call('XADD', P .. 'live:' .. id, '*', 'kind', state == '2' and 'done' or 'failed', 'delivery',
         call('HGET', items, 'd' .. position), 'data', result)
    call('EXPIRE', P .. 'live:' .. id, 120)
  end
end
