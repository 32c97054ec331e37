-- Holds a consumer's name for one process.
-- KEYS: the name. ARGV: who asks, for how long in milliseconds (0 gives it up), and a holder that is known to be
-- dead. Answers who has it: the one who asks gets it, or somebody else keeps it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return holder
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return ARGV[1]
