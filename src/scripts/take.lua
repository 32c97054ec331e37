-- Delivers entries again that are still ours.
-- KEYS: the stream. ARGV: group, consumer, then for each entry its id and the delivery count to set: a repeated
-- script counts once. Answers for each entry that is ours its id, its delivery count and its fields; without
-- fields it was removed from the stream, and is no longer pending then.
local taken = {}
for i = 3, #ARGV, 2 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if pending[1] and pending[1][2] == ARGV[2] then
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'RETRYCOUNT', ARGV[i + 1])
    local count = tonumber(ARGV[i + 1])
    if entry[1] then
      taken[#taken + 1] = { ARGV[i], count, entry[1][2] }
    else
      redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
      taken[#taken + 1] = { ARGV[i], count }
    end
  end
end
return taken
