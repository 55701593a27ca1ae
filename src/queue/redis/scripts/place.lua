#!lua flags=allow-oom
-- token identity name: where the contents are. Without an identity it is asked: if nobody has said it yet, the one with
-- the token may, and nobody else for a minute. "-": that one will not. The name is how it was called, for people.
local place, turn, token, identity = P .. 'place', P .. 'placing', ARGV[1], ARGV[2]
local known = call('HMGET', place, 'identity', 'name')
if known[1] then return {'OK', known[1], known[2]} end
if identity == '-' then
  if call('GET', turn) == token then call('DEL', turn) end
  return {'OK'}
end
if identity ~= '' then
  if call('GET', turn) ~= token then return {'AGAIN'} end -- it took too long: another may be writing meanwhile
  call('HSET', place, 'identity', identity, 'name', ARGV[3])
  call('DEL', turn)
  return {'OK', identity, ARGV[3]}
end
if call('SET', turn, token, 'NX', 'PX', 60000) or call('GET', turn) == token then return {'NOT_FOUND'} end
return {'AGAIN'}
