-- limit
local list = {}
for _, entry in ipairs(call('XRANGE', P .. 'dead', '-', '+', 'COUNT', ARGV[1])) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  list[#list + 1] = {entry[1], fields.job, fields.item, fields.attempts, fields.time, fields.reason}
end
return list
