-- name id model sum bytes max-bytes
return once(function()
  local gone = {}
  if call('HGET', P .. 'voice:' .. ARGV[1], 'id') ~= ARGV[2] then return {'NOT_FOUND'} end
  local key, who = P .. 'prepared:' .. ARGV[2], 'p' .. ARGV[2] .. ':' .. ARGV[3]
  local old_sum, old_bytes = string.match(call('HGET', key, ARGV[3]) or '', '^(%x+) (%d+)$')
  if old_sum == ARGV[4] then
    call('PERSIST', P .. 'bytes:' .. ARGV[4])
    return {'OK'}
  end
  local max = tonumber(ARGV[6])
  if max > 0 and tonumber(call('GET', P .. 'bytes') or '0') - tonumber(old_bytes or '0') + tonumber(ARGV[5]) > max then
    return {'NO_SPACE'}
  end
  if not hold(ARGV[4], who) then return {'AGAIN'} end
  call('PERSIST', P .. 'bytes:' .. ARGV[4])
  if old_sum then
    call('DECRBY', P .. 'bytes', old_bytes)
    let_go(old_sum, who, gone)
  end
  call('HSET', key, ARGV[3], ARGV[4] .. ' ' .. ARGV[5])
  call('INCRBY', P .. 'bytes', ARGV[5])
  return {'OK', unpack(gone)}
end)
