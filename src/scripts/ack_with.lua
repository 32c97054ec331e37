-- Runs commands and acknowledges the entry for which they are, if it is still ours. A command that fails ends the
-- script before XACK; what ran before it stays.
-- KEYS: those of the commands, then the stream. ARGV: group, consumer, id, then for each command how many words it
-- has, and its words: 'k' with the number of a key, or 'a' with the word itself.
-- A reply that is too large for a number of Lua is read again as a text.
-- Answers the list of replies, or nil where the entry is not ours.
local stream = KEYS[#KEYS]
local pending = redis.call('XPENDING', stream, ARGV[1], ARGV[3], ARGV[3], 1)
if not pending[1] or pending[1][2] ~= ARGV[2] then
  return false
end
local replies = {}
local exact = { INCR = 'GET', INCRBY = 'GET', DECR = 'GET', DECRBY = 'GET', HINCRBY = 'HGET' }
local at = 4
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local command = {}
  for i = at + 1, last do
    local word = string.sub(ARGV[i], 2)
    if string.sub(ARGV[i], 1, 1) == 'k' then
      word = KEYS[tonumber(word)]
    end
    command[#command + 1] = word
  end
  local reply = redis.call(unpack(command))
  local read = type(reply) == 'number' and math.abs(reply) >= 9007199254740992 and exact[string.upper(command[1])]
  if read == 'GET' then
    reply = redis.call('GET', command[2])
  elseif read == 'HGET' then
    reply = redis.call('HGET', command[2], command[3])
  end
  replies[#replies + 1] = reply
  at = last + 1
end
redis.call('XACK', stream, ARGV[1], ARGV[3])
return replies
