#!lua flags=allow-oom
-- labels that a worker has, with commas between; "" for who is none
-- The streams are there from the start, for those who look at their lag.
feed('calls', '', 0)
feed('jobs', '', 0)
-- What workers there are: one that has said nothing for a day does not count any more.
if ARGV[1] ~= '' then call('ZADD', P .. 'workers', text(now()), ARGV[1]) end
call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', text(now() - 86400))
return 'OK'
