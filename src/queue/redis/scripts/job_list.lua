-- limit
local list = {}
for _, id in ipairs(call('ZREVRANGE', P .. 'jobs', 0, tonumber(ARGV[1]) - 1)) do
  list[#list + 1] = id
  list[#list + 1] = call('HMGET', job_key(id), 'label', 'created', 'finished', 'queued', 'running', 'done', 'failed')
end
return list
