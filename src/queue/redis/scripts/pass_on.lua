#!lua flags=allow-oom
-- job item delivery memory: it needs more of it than this worker has
return once(function()
  local id, position, memory = ARGV[1], ARGV[2], tonumber(ARGV[4])
  local item = held(id, position, ARGV[3])
  if not item then return 'NOT_FOUND' end
  local need = without_memory(item.need)
  need[#need + 1] = string.format('memory=%.0f', memory + 1)
  need = table.concat(need, ',')
  if not is_somebodys(need) then return 'FULL' end
  call('HSET', items_key(id), 's' .. position, 0, 'n' .. position, need)
  call('HDEL', items_key(id), 'e' .. position)
  local voice = call('HGET', items_key(id), 'v' .. position)
  if voice then call('DEL', P .. 'knows:' .. voice) end -- this worker could not speak with it
  forget_entry(item.class, item.need, item.entry)
  count(id, item.class, 1, 0)
  if call('LPUSH', waiting_key(id, need), position) == 1 then call('LPUSH', ring_key(item.class, need), id) end
  feed(item.class, need, 1)
  publish('work', id)
  return 'OK'
end)
