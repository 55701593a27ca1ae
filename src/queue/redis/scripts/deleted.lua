#!lua flags=allow-oom
-- sum token: it is deleted. If that took longer than the claim, the sweep looks again.
if call('GET', P .. 'claim:' .. ARGV[1]) ~= ARGV[2] then return 0 end
call('DEL', P .. 'claim:' .. ARGV[1])
call('ZREM', P .. 'arriving', ARGV[1])
return 1
