-- name, or "" for the list
local function read(name)
  return call('HMGET', P .. 'voice:' .. name, 'id', 'type', 'language', 'text', 'x-vector', 'pre-processing', 'bytes',
              'duration', 'created', 'sum')
end
if ARGV[1] ~= '' then return read(ARGV[1]) end
local list = {}
for _, name in ipairs(call('ZRANGE', P .. 'voices', 0, -1)) do
  list[#list + 1] = name
  list[#list + 1] = read(name)
end
return list
