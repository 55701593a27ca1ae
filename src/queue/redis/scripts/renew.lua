#!lua flags=allow-oom
-- consumer job item delivery lease-ms
local item = held(ARGV[2], ARGV[3], ARGV[4])
if not item then return 0 end
local stream, name = place_of(item.class, item.need, item.entry)
call('XCLAIM', stream, GROUP, ARGV[1], 0, name, 'IDLE', LONGEST - tonumber(ARGV[5]), 'JUSTID')
return 1
