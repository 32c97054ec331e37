-- Claims entries that others have left, without counting a delivery.
-- KEYS: the stream. ARGV: group, consumer, min idle, cursor, count, what the server's clock should say (or -1),
-- how far off it may be, and the first id of entries that this consumer has not received, if any; all times in milliseconds.
-- Answers the server's clock and what consumers have handed back
-- (ids, delivery counts, idle times); where the clock is further off nothing else was claimed, and it is all. Else the
-- next cursor, the ids with their delivery counts and 1 for those that were this consumer's own and not received, and ids
-- that were removed from the stream.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count = tonumber(ARGV[5])
local shared, returned = 'redis-actix:returned', {}
local pending = ARGV[2] == shared and {} or redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', count, shared)
for i = 1, #pending do
  local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, pending[i][1], 'IDLE', pending[i][3], 'JUSTID')
  if claimed[1] then
    returned[#returned + 1] = { pending[i][1], pending[i][4], pending[i][3] }
  end
end
if #pending > 0 and #pending < count then
  redis.pcall('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], shared)
end
local expected = tonumber(ARGV[6])
if expected >= 0 and math.abs(now - expected) > tonumber(ARGV[7]) then
  return { now, returned }
end
if count <= #returned then
  return { now, returned, ARGV[4], {}, {} }
end
-- XAUTOCLAIM does not tell whose its entries were.
local unread = {}
if ARGV[8] ~= '' then
  local own = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], ARGV[8], '+', count, ARGV[2])
  for i = 1, #own do
    unread[own[i][1]] = 1
  end
end
-- A call looks at ten times as many entries as it may claim: with room for one, thousands that are not idle would take as
-- many commands of the client.
local cursor, rounds, claimed = ARGV[4], 0, nil
repeat
  claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', count - #returned, 'JUSTID')
  cursor, rounds = claimed[1], rounds + 1
until cursor == '0-0' or claimed[2][1] or (claimed[3] and claimed[3][1]) or rounds * (count - #returned) >= 64
local entries = {}
for i = 1, #claimed[2] do
  local entry = redis.call('XPENDING', KEYS[1], ARGV[1], claimed[2][i], claimed[2][i], 1)
  if entry[1] then
    entries[#entries + 1] = { claimed[2][i], entry[1][4], unread[claimed[2][i]] or 0 }
  end
end
return { now, returned, claimed[1], entries, claimed[3] or {} }
