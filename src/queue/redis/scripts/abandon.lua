#!lua flags=allow-oom
-- sum: what was put there is not wanted after all
return once(function()
  local gone = {}
  let_go(ARGV[1], 'nobody', gone)
  return gone
end)
