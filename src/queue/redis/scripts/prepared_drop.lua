#!lua flags=allow-oom
-- id model
return once(function()
  local key, gone = P .. 'prepared:' .. ARGV[1], {}
  local sum, bytes = string.match(call('HGET', key, ARGV[2]) or '', '^(%x+) (%d+)$')
  if sum then
    call('HDEL', key, ARGV[2])
    call('DECRBY', P .. 'bytes', bytes)
    let_go(sum, 'p' .. ARGV[1] .. ':' .. ARGV[2], gone)
  end
  return gone
end)
