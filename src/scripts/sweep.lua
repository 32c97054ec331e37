-- Claims entries that others have left, without counting a delivery.
-- KEYS: the stream. ARGV: group, consumer, min idle, cursor, count, what the server's clock should say (or -1),
-- and how far off it may be; all times in milliseconds. Answers the server's clock; where that is further off
-- nothing was claimed, and it is all. Else the next cursor, the ids with their delivery counts, and ids that were
-- removed from the stream.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expected = tonumber(ARGV[6])
if expected >= 0 and math.abs(now - expected) > tonumber(ARGV[7]) then
  return { now }
end
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local entries = {}
for i = 1, #claimed[2] do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], claimed[2][i], claimed[2][i], 1)
  if pending[1] then
    entries[#entries + 1] = { claimed[2][i], pending[1][4] }
  end
end
return { now, claimed[1], entries, claimed[3] or {} }
