#!lua flags=allow-oom
-- name id
return once(function()
  local key, gone = P .. 'voice:' .. ARGV[1], {}
  local voice = call('HMGET', key, 'id', 'sum', 'bytes')
  if not voice[1] or (ARGV[2] ~= '' and ARGV[2] ~= voice[1]) then return {'NOT_FOUND'} end
  local prepared = call('HGETALL', P .. 'prepared:' .. voice[1])
  for i = 1, #prepared, 2 do
    local sum, bytes = string.match(prepared[i + 1], '^(%x+) (%d+)$')
    call('DECRBY', P .. 'bytes', bytes)
    let_go(sum, 'p' .. voice[1] .. ':' .. prepared[i], gone)
  end
  call('DEL', key, P .. 'prepared:' .. voice[1])
  call('ZREM', P .. 'voices', ARGV[1])
  call('DECRBY', P .. 'bytes', voice[3])
  let_go(voice[2], 'v' .. voice[1], gone)
  return {'OK', unpack(gone)}
end)
