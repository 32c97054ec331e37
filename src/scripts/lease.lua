-- Sets the idle time of entries that are still ours, and with it when others may claim them.
-- KEYS: the stream. ARGV: group, consumer, then for each entry its id, its idle time in milliseconds, and its
-- delivery count (or -1 to keep it). An idle time of -1 gives the entry back to the group, and that delivery is not
-- counted: for servers with XNACK. Letters before the idle time: r gives the entry to the consumer to whom all entries
-- belong that were handed back, f makes one pending that is pending for nobody. Answers the ids that are somebody
-- else's, those that are pending for nobody (to both nothing was done), and those that were removed from the stream:
-- the server forgets that they were pending when it is asked for them.
local lost, absent, gone = {}, {}, {}
for i = 3, #ARGV, 3 do
  local how, idle = string.match(ARGV[i + 1], '^(%a*)(.*)$')
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  local forced = string.find(how, 'f') and not pending[1]
  if forced or (pending[1] and pending[1][2] == ARGV[2]) then
    local claimed
    if idle == '-1' then
      claimed = { redis.call('XNACK', KEYS[1], ARGV[1], 'SILENT', 'IDS', 1, ARGV[i]) }
    else
      local owner = string.find(how, 'r') and 'redis-actix:returned' or ARGV[2]
      local call = { 'XCLAIM', KEYS[1], ARGV[1], owner, 0, ARGV[i], 'IDLE', idle }
      if ARGV[i + 2] ~= '-1' then
        call[#call + 1] = 'RETRYCOUNT'
        call[#call + 1] = ARGV[i + 2]
      end
      if forced then
        call[#call + 1] = 'FORCE'
      end
      call[#call + 1] = 'JUSTID'
      claimed = redis.call(unpack(call))
    end
    if not claimed[1] then
      gone[#gone + 1] = ARGV[i]
    end
  elseif pending[1] then
    lost[#lost + 1] = ARGV[i]
  else
    absent[#absent + 1] = ARGV[i]
  end
end
return { lost, absent, gone }
