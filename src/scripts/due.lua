-- Moves messages to their stream whose time has come. An error of XADD ends the script before a message is forgotten,
-- unless it is about the message alone: that one goes to the dead letters, or is tried again a minute later where they
-- cannot be written, and those behind it are moved all the same.
-- KEYS: the stream, the times, the messages, the dead letters. ARGV: how many at most, the name of the stream.
-- Answers how many were moved, in how many milliseconds the next one is due, or -1, how many were refused, and why the last
-- one was.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, moved, refused, why = tonumber(ARGV[1]), 0, 0, ''

-- What follows the id in the arguments of XADD.
local function fields_of(message)
  local at = 1
  while message[at] and message[at] ~= '*' do
    local option = string.upper(message[at])
    if option == 'IDMP' then
      at = at + 2
    elseif option == 'IDMPAUTO' then
      at = at + 1
    end
    at = at + 1
  end
  return { unpack(message, at + 1) }
end

local function refuse(ticket, message, words)
  local own = { 'dead:meta', 10, 'dead:id', '0-0', 'dead:stream', ARGV[2], 'dead:group', '', 'dead:consumer', '',
    'dead:reason', 'schedule', 'dead:error', words, 'dead:deliveries', 0, 'dead:first_seen', string.format('%.0f', now),
    'dead:last_seen', string.format('%.0f', now) }
  local fields = fields_of(message)
  for i = 1, #fields do
    own[#own + 1] = fields[i]
  end
  local written = redis.pcall('XADD', KEYS[4], '*', unpack(own))
  if type(written) == 'table' and written.err then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + 60000), ticket)
    return false
  end
  return true
end

repeat
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, most - moved - refused)
  for i = 1, #due do
    local message = redis.call('HGET', KEYS[3], due[i])
    local answer
    if message then
      message = cmsgpack.unpack(message)
      answer = redis.pcall('XADD', KEYS[1], unpack(message))
    end
    local settled = true
    if type(answer) == 'table' and answer.err then
      -- Whatever else it is, as WRONGTYPE or OOM, holds for all of them.
      if not string.match(answer.err, '^%-?ERR ') then
        return answer
      end
      refused, why = refused + 1, answer.err
      settled = refuse(due[i], message, answer.err)
    elseif message then
      moved = moved + 1
    end
    if settled then
      redis.call('HDEL', KEYS[3], due[i])
      redis.call('ZREM', KEYS[2], due[i])
    end
  end
until not due[1] or moved + refused >= most
local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if following[2] then
  return { moved, math.max(0, tonumber(following[2]) - now), refused, why }
end
return { moved, -1, refused, why }
