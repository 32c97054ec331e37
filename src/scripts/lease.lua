-- Sets the idle time of entries that are still ours, and with it when others may claim them.
-- KEYS: the stream. ARGV: group, consumer, then for each entry its id, its idle time in milliseconds, and its
-- delivery count (or -1 to keep it). An idle time of -1 gives the entry back to the group, and that delivery is not
-- counted: for servers with XNACK. Answers the ids that are no longer ours, to which nothing was done, and those
-- that were removed from the stream: the server forgets that they were pending when it is asked for them.
local lost, gone = {}, {}
for i = 3, #ARGV, 3 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if pending[1] and pending[1][2] == ARGV[2] then
    local claimed
    if ARGV[i + 1] == '-1' then
      claimed = { redis.call('XNACK', KEYS[1], ARGV[1], 'SILENT', 'IDS', 1, ARGV[i]) }
    elseif ARGV[i + 2] == '-1' then
      claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[i + 1], 'JUSTID')
    else
      claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[i + 1], 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
    end
    if not claimed[1] then
      gone[#gone + 1] = ARGV[i]
    end
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return { lost, gone }
