-- name id type language text has-text x-vector pre-processing bytes duration sum max-bytes
local key = P .. 'voice:' .. ARGV[1]
local known = call('HGET', key, 'id')
if known then return {known == ARGV[2] and 'OK' or 'EXISTS', call('HGET', key, 'created')} end
local max = tonumber(ARGV[12])
if max > 0 and tonumber(call('GET', P .. 'bytes') or '0') + tonumber(ARGV[9]) > max then return {'NO_SPACE'} end
if not hold(ARGV[11], 'v' .. ARGV[2]) then return {'AGAIN'} end
call('PERSIST', P .. 'bytes:' .. ARGV[11])
local time = text(now())
call('HSET', key, 'id', ARGV[2], 'type', ARGV[3], 'language', ARGV[4], 'x-vector', ARGV[7], 'pre-processing', ARGV[8],
     'bytes', ARGV[9], 'duration', ARGV[10], 'sum', ARGV[11], 'created', time)
if ARGV[6] == '1' then call('HSET', key, 'text', ARGV[5]) end
call('ZADD', P .. 'voices', 0, ARGV[1])
call('INCRBY', P .. 'bytes', ARGV[9])
return {'OK', time}
