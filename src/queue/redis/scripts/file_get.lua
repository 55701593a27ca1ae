-- id
local file = call('HMGET', P .. 'file:' .. ARGV[1], 'name', 'type', 'bytes', 'rate', 'duration', 'created', 'expires',
                  'sum')
if not file[1] then return false end
if tonumber(file[7]) < now() and call('EXISTS', P .. 'file-jobs:' .. ARGV[1]) == 0 then return false end
return file
