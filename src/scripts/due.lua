-- Moves messages to their stream whose time has come. An error of XADD ends the script before a message is forgotten.
-- KEYS: the stream, the times, the messages. ARGV: how many at most.
-- Answers how many were moved, and in how many milliseconds the next one is due, or -1.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
local moved = 0
for i = 1, #due do
  local message = redis.call('HGET', KEYS[3], due[i])
  if message then
    redis.call('XADD', KEYS[1], unpack(cmsgpack.unpack(message)))
    redis.call('HDEL', KEYS[3], due[i])
    moved = moved + 1
  end
  redis.call('ZREM', KEYS[2], due[i])
end
local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if following[2] then
  return { moved, math.max(0, tonumber(following[2]) - now) }
end
return { moved, -1 }
