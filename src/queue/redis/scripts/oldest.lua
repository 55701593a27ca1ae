-- Seconds since the oldest job or call came that is not finished, wherever its items are.
local oldest = call('ZRANGE', P .. 'unfinished', 0, 0, 'WITHSCORES')[2]
return text(oldest and math.max(now() - tonumber(oldest), 0) or 0)
