-- Delivers entries again that are still ours, and counts the delivery.
-- KEYS: the stream. ARGV: group, consumer, ids. Answers for each entry that is ours its id, its delivery count and
-- its fields; without fields it was removed from the stream, and is no longer pending then.
local taken = {}
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if pending[1] and pending[1][2] == ARGV[2] then
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i])
    if entry[1] then
      taken[#taken + 1] = { ARGV[i], pending[1][4] + 1, entry[1][2] }
    else
      redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
      taken[#taken + 1] = { ARGV[i], pending[1][4] + 1 }
    end
  end
end
return taken
