#!lua flags=allow-oom
-- calls that this server listens to. It is said again before anybody minds that it was lost.
unwritten()
for _, id in ipairs(ARGV) do
  if call('EXISTS', job_key(id)) == 1 then call('SET', P .. 'heard:' .. id, 1, 'EX', 10) end
end
return 'OK'
