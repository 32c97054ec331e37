-- Moves an entry that is still ours to the dead letters. The order matters: an error of XADD ends the script before
-- XACK, so a message is never acknowledged without being there. (MULTI would run XACK all the same.)
-- KEYS: the stream, its dead letters. ARGV: group, consumer, id, about how many dead letters are kept or '', pairs of names
-- and values to add to the entry's own.
-- Answers 1, or 0 where the entry is no longer ours, or 2 where it was removed from the stream.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if not pending[1] or pending[1][2] ~= ARGV[2] then
  return 0
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])
if not entry[1] then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  return 2
end
-- Two consumers whose dead letters go to each other's streams would move an entry round without end. Each move adds one pair.
local moves = 0
for i = 1, #entry[1][2], 2 do
  if entry[1][2][i] == 'dead:meta' then
    moves = moves + 1
  end
end
if moves >= 16 then
  return redis.error_reply('ERR the entry was a dead letter 16 times: consumers move their dead letters to each other')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- The first pair says how many of them are ours: the entry may have such names of its own.
local fields = { 'dead:meta', (#ARGV - 4) / 2 + 4, 'dead:deliveries', pending[1][4],
  'dead:first_seen', string.match(ARGV[3], '^%d+'), 'dead:last_seen', string.format('%.0f', now - pending[1][3]) }
for i = 5, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
-- unpack has a limit of some thousand values.
if #fields + #entry[1][2] > 7000 then
  return redis.error_reply('ERR the entry has too many fields to be moved by a script')
end
for i = 1, #entry[1][2] do
  fields[#fields + 1] = entry[1][2][i]
end
if ARGV[4] == '' then
  redis.call('XADD', KEYS[2], '*', unpack(fields))
else
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', unpack(fields))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return 1
