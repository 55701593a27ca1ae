#!lua flags=allow-oom
-- consumer token lease-ms "calls"|"all"|"idle" patience-seconds and this worker's labels, with commas between
local consumer, token, lease, patience = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local known = call('HMGET', P .. 'taken:' .. consumer, 'token', 'job', 'item')
local labels, left = labels_of(ARGV[6]), {}
-- Items that were there and are not for this worker now, how often that was so, and whether one came a second time.
local put_off, all, gone_round = {}, 0, false

local function answer(id, position)
  local item = call('HMGET', items_key(id), 'd' .. position, 'q' .. position, 'c' .. position, 'g' .. position)
  local job = call('HMGET', job_key(id), 'number', 'class')
  local ends = call('ZSCORE', P .. 'calls', id)
  return {'OK', id, position, item[1], item[2], job[1], job[2], item[3] or '0', item[4] or '0',
          ends and text(tonumber(ends) - now()) or '0'}
end

-- The same question again: the answer was lost on its way.
if known[1] == token and known[2] then
  local delivery = call('HGET', P .. 'taken:' .. consumer, 'delivery')
  if held(known[2], known[3], delivery) then return answer(known[2], known[3]) end
end

-- When others look at a worker's own stream: after so many milliseconds, or sooner if another item waits there, too.
local function look_again(class, need, after)
  local stream = stream_key(class, need)
  if call('XLEN', stream) > call('XPENDING', stream, GROUP)[1] then after = patience * 1000 end
  call('ZADD', P .. 'aside', text(now() + after / 1000 - patience), class .. ':' .. need)
end

-- Whether this worker was unable to run the item and another that was not is there.
local function is_for_others(need, id, position)
  local by = call('HGET', items_key(id), 'b' .. position)
  return by and string.find(by, consumer, 1, true) and is_somebodys(need, by)
end

-- Whether nobody listens to a call. A server says that it does soon after Redis is there again: one that has not for
-- longer is gone, and its calls with it.
local function is_unheard(id)
  if is_heard(id) then
    call('HDEL', job_key(id), 'silent')
    return false
  end
  call('HSETNX', job_key(id), 'silent', text(now()))
  if now() - tonumber(call('HGET', job_key(id), 'silent')) > 10 then remove_job(id, {}) end
  return true
end

-- The item goes behind the others of its job, and its job behind the others.
local function put_last(class, need, entry, id, position)
  local name, plain = id .. ':' .. position, string.gsub(need, OWN, '')
  gone_round, put_off[name], all = gone_round or put_off[name], true, all + 1
  forget_entry(class, need, entry)
  if call('HDEL', items_key(id), 'e' .. position) == 0 then return end -- its job was removed
  if call('RPUSH', waiting_key(id, plain), position) == 1 then call('RPUSH', ring_key(class, plain), id) end
end

local function deliver(class, need, entry, again)
  local id, position = entry[2][2], entry[2][4]
  local state = call('HGET', items_key(id), 's' .. position)
  if not state or tonumber(state) > 1 then -- its job was removed
    forget_entry(class, need, entry[1])
    return nil
  end
  local plain = string.gsub(need, OWN, '')
  if state == '0' and (class == 'calls' and is_unheard(id) or is_for_others(plain, id, position)) then
    put_last(class, need, entry[1], id, position)
    return nil
  end
  if again then call('HINCRBY', items_key(id), 'c' .. position, 1) end
  local delivery = call('HINCRBY', items_key(id), 'd' .. position, 1)
  local voice = call('HGET', items_key(id), 'v' .. position)
  call('HSET', items_key(id), 's' .. position, 1, 'e' .. position, entry[1] .. (string.match(need, OWN) or ''))
  if voice then call('SET', P .. 'knows:' .. voice, consumer, 'EX', 3600) end
  call('ZREM', P .. 'idle', consumer)
  if string.match(need, OWN) then look_again(class, need, lease) end
  if state == '0' then count(id, class, 0, 1) end
  call('HINCRBY', P .. 'counts', again and 'taken-over' or 'deliveries', 1)
  call('XCLAIM', stream_key(class, need), GROUP, consumer, 0, entry[1], 'IDLE', LONGEST - lease, 'JUSTID')
  call('HSET', P .. 'taken:' .. consumer, 'token', token, 'job', id, 'item', position, 'delivery', delivery)
  call('PEXPIRE', P .. 'taken:' .. consumer, LONGEST)
  return answer(id, position)
end

local function take_from(class, need)
  local stream = stream_key(class, need)
  while true do
    local late = call('XPENDING', stream, GROUP, 'IDLE', LONGEST, '-', '+', 1)[1]
    if not late then break end
    local claimed = call('XAUTOCLAIM', stream, GROUP, consumer, LONGEST, late[1], 'COUNT', 1)[2]
    local taken = claimed[1] and deliver(class, need, claimed[1], true)
    if taken then return taken end
  end
  while true do
    local read = call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
    if not read then return nil end
    local taken = deliver(class, need, read[1][2][1], false)
    if taken then return taken end
  end
end

-- An item that knows its worker comes first; then those of everybody.
local function take(class, need)
  local own = need .. '@' .. consumer
  local taken = call('EXISTS', stream_key(class, own)) == 1 and take_from(class, own)
  if taken then return taken end
  local before
  gone_round = false
  repeat
    before = all
    feed(class, need, 0)
    taken = take_from(class, need)
  until taken or all == before or gone_round or all > 100
  if all > 0 then feed(class, need, 1) end -- for those who look at the stream's lag
  return taken
end

-- What was put aside for another and not taken in time, or was taken and its lease is over, is everybody's.
-- What this worker may not have stays in front, so it is not counted among those that are tried.
local function steal(class)
  local tried = 0
  for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'aside', '-inf', text(now() - patience), 'LIMIT', 0, 100)) do
    if tried == 4 then return nil end
    local of, own = string.match(name, '^(%a+):(.*)$')
    local able = of == class and suits(string.sub(own, 1, string.find(own, OWN) - 1), labels)
    tried = tried + (able and 1 or 0)
    local taken = able and take_from(class, own)
    if taken then return taken end
    if call('XLEN', stream_key(of, own)) == 0 then
      call('DEL', stream_key(of, own))
      call('ZREM', P .. 'aside', name)
    elseif able then
      local running = call('XPENDING', stream_key(of, own), GROUP, '-', '+', 1)[1]
      look_again(of, own, running and LONGEST - running[3] or 0)
    end
  end
end

-- Whether nothing but memory is lacking and no worker with so much has been there for a while: who takes the item then
-- finds that it does not fit, and says so.
local function is_lost(need)
  if not suits(table.concat(without_memory(need), ','), labels) then return false end
  for _, list in ipairs(call('ZRANGEBYSCORE', P .. 'workers', text(now() - SILENT), '+inf')) do
    if suits(need, labels_of(list)) then return false end
  end
  return true
end

local streams = call('SMEMBERS', P .. 'streams')
table.sort(streams)
-- Items with the same need take turns; streams with different needs are tried from another one each time.
-- If there is nothing, only that the worker is idle is written: a write may wait for the disk, and others with it.
local turn = #streams > 0 and tonumber(call('TIME')[2]) % #streams or 0
for _, class in ipairs(ARGV[4] == 'calls' and {'calls'} or {'calls', 'jobs'}) do
  local stolen = steal(class)
  if stolen then return stolen end
  for i = 1, #streams do
    local name = streams[(i + turn - 1) % #streams + 1]
    if string.sub(name, 1, #class + 1) == class .. ':' then
      local need = string.sub(name, #class + 2)
      local fits = suits(need, labels)
      local waits = not fits and
                    (call('EXISTS', ring_key(class, need)) == 1 or call('XLEN', stream_key(class, need)) > 0)
      if fits or waits and is_lost(need) then
        local taken = take(class, need)
        if taken then return taken end
      elseif waits then
        left[#left + 1] = need
      end
    end
  end
end
if ARGV[4] == 'idle' then call('ZADD', P .. 'idle', text(now()), consumer) end
-- When something that was put aside for another is everybody's.
local first = call('ZRANGEBYSCORE', P .. 'aside', '(' .. text(now() - patience), text(now()), 'WITHSCORES', 'LIMIT', 0, 1)
local look = first[2] and math.max(tonumber(first[2]) + patience - now(), 0.001) or 0
if all > 0 and (look == 0 or look > 1) then look = 1 end
return {'NOT_FOUND', text(look), unpack(left)}
