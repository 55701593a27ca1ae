-- job item delivery piece kind hurries data: returns how many pieces wait, and whether somebody listens
local id, position, delivery, piece, kind = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
if not held(id, position, delivery) then return {-1, 0} end
local live, items = P .. 'live:' .. id, items_key(id)
if kind ~= '' then -- otherwise it is only asked
  -- Pieces come in order, so the last one's number says what is there already: nothing is heard twice.
  local of, last = string.match(call('HGET', items, 'p' .. position) or '', '^(%d+) (%d+)$')
  if of ~= delivery or tonumber(last) < piece then
    if ARGV[6] == '1' then unwritten() end
    call('XADD', live, '*', 'kind', kind, 'delivery', delivery, 'data', ARGV[7], 'piece', piece)
    call('HSET', items, 'p' .. position, delivery .. ' ' .. piece)
    call('EXPIRE', live, 120)
  end
end
return {call('XLEN', live), is_heard(id) and 1 or 0}
