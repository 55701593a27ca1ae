#!lua flags=allow-oom
-- sum token: whether who has the token may delete the content now. Nobody refers to it until the claim ends.
local claim = P .. 'claim:' .. ARGV[1]
local holder = call('GET', claim)
if holder and holder ~= ARGV[2] then return 0 end
if call('EXISTS', P .. 'blob:' .. ARGV[1]) == 1 or not call('ZSCORE', P .. 'arriving', ARGV[1]) then return 0 end
call('SET', claim, ARGV[2], 'PX', 60000)
return 1
