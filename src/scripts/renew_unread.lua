-- Renews the leases of entries that were delivered to this consumer and that it has not received yet.
-- KEYS: the stream. ARGV: group, consumer, the first id, the maximum number of entries, and the idle time up to which they
-- are renewed, in milliseconds: a read that is in flight cannot have delivered an entry that is idle for longer.
-- Returns how many were renewed.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])
local renewed = 0
for i = 1, #pending do
  if pending[i][3] <= tonumber(ARGV[5]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, pending[i][1], 'IDLE', 0, 'JUSTID')
    renewed = renewed + 1
  end
end
return renewed
