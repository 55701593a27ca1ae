#!lua flags=allow-oom
-- job item delivery counts: as a delivery that was lost
return once(function()
  local id, position = ARGV[1], ARGV[2]
  local item = held(id, position, ARGV[3])
  if not item then return 0 end
  call('HSET', items_key(id), 's' .. position, 0)
  call('HDEL', items_key(id), 'e' .. position)
  if ARGV[4] == '1' then call('HINCRBY', items_key(id), 'c' .. position, 1) end
  forget_entry(item.class, item.need, item.entry)
  local waiting = waiting_key(id, item.need)
  if call('LPUSH', waiting, position) == 1 then call('LPUSH', ring_key(item.class, item.need), id) end
  count(id, item.class, 1, 0)
  feed(item.class, item.need, 1)
  publish('work', id)
  return 1
end)
