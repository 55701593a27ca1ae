-- id label repeat-key body max-jobs class life count file-count, then a request, a need and whose voice for each item,
-- then a file and whether it is owned
local id, label, key, body, max, class = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local life, items, files = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if call('EXISTS', job_key(id)) == 1 then return {'OK', call('HGET', job_key(id), 'created')} end -- the answer was lost
if key ~= '' then
  local known = call('GET', P .. 'repeat:' .. key)
  if known and call('EXISTS', job_key(known)) == 1 then
    local same = body == '' or call('HGET', job_key(known), 'body') == body
    return {same and 'EXISTS' or 'CONFLICT', known}
  end
end
if max > 0 and class == 'jobs' and call('SCARD', P .. 'open') >= max then return {'FULL'} end
local first_file = 9 + 3 * items
for i = 1, files do
  if call('EXISTS', P .. 'file:' .. ARGV[first_file + 2 * i - 1]) == 0 then return {'NOT_FOUND'} end
end
local number, created = call('INCR', P .. 'numbers'), text(now())
call('HSET', job_key(id), 'number', number, 'label', label, 'created', created, 'finished', '0', 'class', class,
     'total', items, 'queued', 0, 'running', 0, 'done', 0, 'failed', 0, 'body', body, 'repeat', key)
if key ~= '' then call('SET', P .. 'repeat:' .. key, id) end

-- "?model=NAME" is a need if there is, or was today, a worker with that model; otherwise any will do.
local models, settled = {}, {}
for _, list in ipairs(call('ZRANGE', P .. 'workers', 0, -1)) do
  for model in string.gmatch(list, 'model=[^,]+') do models[string.lower('?' .. model)] = model end
end
local function settle(need)
  local labels = {}
  for label in string.gmatch(need, '[^,]+') do
    local asked = string.sub(label, 1, 1) == '?'
    labels[#labels + 1] = not asked and label or models[string.lower(label)]
  end
  return table.concat(labels, ',')
end

local seen = {}
for i = 0, items - 1 do
  local request, need, voice = ARGV[10 + 3 * i], ARGV[11 + 3 * i], ARGV[12 + 3 * i]
  settled[need] = settled[need] or settle(need)
  need = settled[need]
  call('HSET', items_key(id), 'q' .. i, request, 's' .. i, 0, 'n' .. i, need, 'd' .. i, 0)
  local sum = voice ~= '' and call('HGET', P .. voice, 'sum')
  if sum then call('HSET', items_key(id), 'v' .. i, sum) end
  call('RPUSH', waiting_key(id, need), i)
  if not seen[need] then
    seen[need] = true
    call('RPUSH', ring_key(class, need), id)
  end
  count(id, class, nil, 0)
end
for i = 1, files do
  local file, owned = ARGV[first_file + 2 * i - 1], ARGV[first_file + 2 * i]
  call('HSET', P .. 'job-files:' .. id, file, owned)
  call('SADD', P .. 'file-jobs:' .. file, id)
end
call('ZADD', P .. 'unfinished', created, id)
if class == 'jobs' then
  call('ZADD', P .. 'jobs', number, id)
  call('SADD', P .. 'open', id)
else
  call('ZADD', P .. 'calls', now() + life, id)
  -- From now on the server says every few seconds that it listens (listen.lua); until then it has time for a slow start.
  call('HSET', job_key(id), 'listens', 1)
  call('SET', P .. 'heard:' .. id, 1, 'EX', 15)
end
-- At least one entry, for those who look at the stream's lag to see whether there is work.
for need in pairs(seen) do feed(class, need, 1) end
publish('work', id)
return {'OK', created}
