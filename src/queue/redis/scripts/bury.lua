#!lua flags=allow-oom
-- job item delivery result reason
return once(function()
  local id, position = ARGV[1], ARGV[2]
  local item = held(id, position, ARGV[3])
  if not item then return 'NOT_FOUND' end
  conclude(id, position, item, '3', ARGV[4], '')
  local attempts = call('HGET', items_key(id), 'c' .. position) or '0'
  if item.class == 'jobs' then
    local entry = call('XADD', P .. 'dead', 'MAXLEN', '~', 10000, '*', 'job', id, 'item', position, 'attempts', attempts,
                       'reason', ARGV[5], 'time', text(now()))
    call('HSET', items_key(id), 'x' .. position, entry)
  end
  call('HINCRBY', P .. 'counts', 'dead', 1)
  return 'OK'
end)
