-- Sends dead letters back to their stream, each as a whole: an error of XADD ends the script before XDEL.
-- KEYS: the dead letters, the stream. ARGV: ids of dead letters. Answers how many were there and are back.
local moved = 0
for i = 1, #ARGV do
  local letter = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if letter then
    local fields = letter[2]
    -- The first pair says how many in front were added when it died.
    local added = 0
    if fields[1] == 'dead:meta' then
      added = 2 * tonumber(fields[2])
    end
    if added < #fields then
      redis.call('XADD', KEYS[2], '*', unpack(fields, added + 1))
      redis.call('XDEL', KEYS[1], ARGV[i])
      moved = moved + 1
    end
  end
end
return moved
