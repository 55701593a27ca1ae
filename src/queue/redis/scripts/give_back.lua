#!lua flags=allow-oom
-- job item delivery consumer unable: whether this worker cannot run it, and others may
return once(function()
  local id, position = ARGV[1], ARGV[2]
  local item = held(id, position, ARGV[3])
  if not item then return 0 end
  call('HSET', items_key(id), 's' .. position, 0)
  call('HDEL', items_key(id), 'e' .. position)
  if ARGV[5] == '1' then
    local consumer, by = ARGV[4], call('HGET', items_key(id), 'b' .. position) or ''
    call('HINCRBY', items_key(id), 'g' .. position, 1)
    if not string.find(by, consumer, 1, true) then
      call('HSET', items_key(id), 'b' .. position, by .. ' ' .. consumer)
    end
    local voice = call('HGET', items_key(id), 'v' .. position)
    if voice and call('GET', P .. 'knows:' .. voice) == consumer then call('DEL', P .. 'knows:' .. voice) end
  end
  forget_entry(item.class, item.need, item.entry)
  local waiting = waiting_key(id, item.need)
  if call('LPUSH', waiting, position) == 1 then call('LPUSH', ring_key(item.class, item.need), id) end
  count(id, item.class, 1, 0)
  feed(item.class, item.need, 1)
  publish('work', id)
  return 1
end)
