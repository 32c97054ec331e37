-- Moves messages to their stream whose time has come. An error of XADD ends the script before a message is forgotten,
-- unless it is about the message alone: that one stays, and those behind it are moved all the same.
-- KEYS: the stream, the times, the messages. ARGV: how many at most.
-- Answers how many were moved, and in how many milliseconds the next one is due, or -1; the error where none was moved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, moved, stuck, trouble = tonumber(ARGV[1]), 0, 0, nil
repeat
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', stuck, most - moved)
  for i = 1, #due do
    local message = redis.call('HGET', KEYS[3], due[i])
    local answer
    if message then
      answer = redis.pcall('XADD', KEYS[1], unpack(cmsgpack.unpack(message)))
    end
    if type(answer) == 'table' and answer.err then
      -- Whatever else it is, as WRONGTYPE or OOM, holds for all of them.
      if not string.match(answer.err, '^%-?ERR ') then
        return answer
      end
      stuck, trouble = stuck + 1, answer
    else
      if message then
        redis.call('HDEL', KEYS[3], due[i])
        moved = moved + 1
      end
      redis.call('ZREM', KEYS[2], due[i])
    end
  end
until not due[1] or moved >= most or stuck >= 1000
if trouble and moved == 0 then
  return trouble
end
local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if following[2] then
  return { moved, math.max(0, tonumber(following[2]) - now) }
end
return { moved, -1 }
