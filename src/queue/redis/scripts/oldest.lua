-- Seconds since the oldest entry of all streams came there.
local oldest = 0
for _, stream in ipairs(call('SMEMBERS', P .. 'streams')) do
  local class, need = string.match(stream, '^(%a+):(.*)$')
  local first = call('XRANGE', stream_key(class, need), '-', '+', 'COUNT', 1)[1]
  if first then oldest = math.max(oldest, now() - tonumber(string.match(first[1], '^%d+')) / 1000) end
end
return text(oldest)
