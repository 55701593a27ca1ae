#!lua flags=allow-oom
-- job item delivery state result audio
local id, position, delivery, state, result, audio = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local item, fields = held(id, position, delivery)
if not item then
  -- Twice is as good as once.
  local over = fields[2] == delivery and (fields[1] == '2' or fields[1] == '3')
  return over and 'OK' or 'NOT_FOUND'
end
if audio ~= '' and call('EXISTS', P .. 'file:' .. audio) == 0 then return 'DAMAGED' end
conclude(id, position, item, state, result, audio)
return 'OK'
