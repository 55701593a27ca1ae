-- Seconds since the oldest job or call came that is not finished, wherever its items are.
-- What a process of an older version has ended or removed is still in the list.
for _ = 1, 100 do
  local oldest = call('ZRANGE', P .. 'unfinished', 0, 0, 'WITHSCORES')
  if not oldest[1] then return '0' end
  if call('HGET', job_key(oldest[1]), 'finished') == '0' then return text(math.max(now() - tonumber(oldest[2]), 0)) end
  call('ZREM', P .. 'unfinished', oldest[1])
end
return '0'
