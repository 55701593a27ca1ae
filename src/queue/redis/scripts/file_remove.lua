#!lua flags=allow-oom
-- id
return once(function()
  local gone = {}
  if call('EXISTS', P .. 'file:' .. ARGV[1]) == 0 then return {'NOT_FOUND'} end
  if call('EXISTS', P .. 'file-jobs:' .. ARGV[1]) == 1 then return {'IN_USE'} end
  remove_file(ARGV[1], gone)
  return {'OK', unpack(gone)}
end)
