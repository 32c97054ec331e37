-- Keeps a message until its time.
-- KEYS: the times, the messages. ARGV: its ticket, 'at' or 'in', milliseconds, then what follows the key of XADD.
-- Answers the time in milliseconds.
local at = tonumber(ARGV[3])
if ARGV[2] == 'in' then
  local time = redis.call('TIME')
  at = at + time[1] * 1000 + math.floor(time[2] / 1000)
end
local message = {}
for i = 4, #ARGV do
  message[#message + 1] = ARGV[i]
end
redis.call('HSET', KEYS[2], ARGV[1], cmsgpack.pack(message))
redis.call('ZADD', KEYS[1], string.format('%.0f', at), ARGV[1])
return at
