-- id name type bytes rate duration life sum "pending"|"" max-bytes
local id, bytes, sum = ARGV[1], tonumber(ARGV[4]), ARGV[8]
local key = P .. 'file:' .. id
if call('EXISTS', key) == 1 then return {'OK', call('HGET', key, 'created')} end -- the answer was lost
local max = tonumber(ARGV[10])
if max > 0 and tonumber(call('GET', P .. 'bytes') or '0') + bytes > max then return {'NO_SPACE'} end
if not hold(sum, 'f' .. id) then return {'AGAIN'} end
local time = now()
local expires = text(time + tonumber(ARGV[7]))
call('HSET', key, 'name', ARGV[2], 'type', ARGV[3], 'bytes', ARGV[4], 'rate', ARGV[5], 'duration', ARGV[6], 'created',
     text(time), 'expires', expires, 'sum', sum)
call('ZADD', P .. 'files', expires, id)
if ARGV[9] == 'pending' then
  call('HSET', key, 'pending', '1')
  call('ZADD', P .. 'pending', text(time), id)
end
call('INCRBY', P .. 'bytes', ARGV[4])
return {'OK', text(time)}
