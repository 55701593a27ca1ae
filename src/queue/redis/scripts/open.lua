#!lua flags=allow-oom
-- labels consumer: what a worker has, with commas between, and its name; "" for who is none
-- The streams are there from the start, for those who look at their lag.
feed('calls', '', 0)
feed('jobs', '', 0)
-- What workers there are: which models were there within a day, and who is there now.
if ARGV[1] ~= '' then
  call('ZADD', P .. 'workers', text(now()), ARGV[1])
  call('ZADD', P .. 'here', text(now()), ARGV[2])
  call('HSET', P .. 'labels', ARGV[2], ARGV[1])
end
call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', text(now() - 86400))
for _, silent in ipairs(call('ZRANGEBYSCORE', P .. 'here', '-inf', text(now() - SILENT))) do leave(silent) end
return 'OK'
