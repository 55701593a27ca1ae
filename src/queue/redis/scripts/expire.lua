#!lua flags=allow-oom
-- job-seconds grace-seconds most
local time, gone = now(), {}
local most = tonumber(ARGV[3])
local function before(key, limit) return call('ZRANGEBYSCORE', P .. key, '-inf', text(limit), 'LIMIT', 0, most) end

for _, id in ipairs(before('finished', time - tonumber(ARGV[1]))) do remove_job(id, gone) end
for _, id in ipairs(before('calls', time)) do remove_job(id, gone) end
for _, file in ipairs(before('files', time)) do
  if call('EXISTS', P .. 'file-jobs:' .. file) == 0 then
    remove_file(file, gone)
  else
    call('ZADD', P .. 'files', text(time + 60), file) -- a job needs it still: others have their turn
  end
end
local late = time - tonumber(ARGV[2])
for _, file in ipairs(before('pending', late)) do remove_file(file, gone) end
-- What was put there and never came to belong to anything; also what somebody was deleting when he died.
for _, sum in ipairs(before('arriving', late)) do
  if call('EXISTS', P .. 'blob:' .. sum) == 1 then
    call('ZREM', P .. 'arriving', sum)
  else
    gone[#gone + 1] = sum
  end
end
call('ZREMRANGEBYSCORE', P .. 'idle', '-inf', text(time - 60))
-- Consumers that have had nothing for a day: their workers have other names by now.
for _, stream in ipairs(call('SMEMBERS', P .. 'streams')) do
  local class, need = string.match(stream, '^(%a+):(.*)$')
  local key = stream_key(class, need)
  for _, fields in ipairs(call('EXISTS', key) == 1 and call('XINFO', 'CONSUMERS', key, GROUP) or {}) do
    local consumer = {}
    for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
    if consumer.pending == 0 and consumer.idle > 86400000 then
      call('XGROUP', 'DELCONSUMER', key, GROUP, consumer.name)
    end
  end
end
return gone
