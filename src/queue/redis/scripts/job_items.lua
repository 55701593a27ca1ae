-- id
local total, list = tonumber(call('HGET', job_key(ARGV[1]), 'total') or '0'), {}
for i = 0, total - 1 do
  list[#list + 1] = call('HMGET', items_key(ARGV[1]), 's' .. i, 'q' .. i, 'r' .. i, 'a' .. i)
end
return list
