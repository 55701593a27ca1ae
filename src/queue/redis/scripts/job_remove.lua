#!lua flags=allow-oom
-- id
return once(function()
  local gone = {}
  if not remove_job(ARGV[1], gone) then return false end
  return gone
end)
