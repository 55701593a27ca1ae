-- entry "retry"|"drop"
return once(function()
  local entry = call('XRANGE', P .. 'dead', ARGV[1], ARGV[1])[1]
  if not entry then return 0 end
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  local id, position = fields.job, fields.item
  call('XDEL', P .. 'dead', ARGV[1])
  if ARGV[2] == 'drop' then return 1 end
  local item = call('HMGET', items_key(id), 's' .. position, 'n' .. position)
  if item[1] ~= '3' then return 0 end -- the job is gone
  call('HSET', items_key(id), 's' .. position, 0)
  call('HDEL', items_key(id), 'r' .. position, 'c' .. position, 'x' .. position, 'g' .. position,
       'b' .. position)
  call('HSET', job_key(id), 'finished', '0')
  call('ZREM', P .. 'finished', id)
  call('SADD', P .. 'open', id)
  call('ZADD', P .. 'unfinished', 'NX', text(now()), id)
  count(id, 'jobs', 3, 0)
  if call('RPUSH', waiting_key(id, item[2]), position) == 1 then call('RPUSH', ring_key('jobs', item[2]), id) end
  feed('jobs', item[2], 1)
  publish('work', id)
  return 1
end)
