-- Removes consumers of a group that have nothing pending and have not been seen for some time. XGROUP DELCONSUMER
-- drops what is pending without a word: asking before in another command would leave a gap.
-- KEYS: the stream. ARGV: group, the time in milliseconds, and the only consumer to look at (or nothing). Answers
-- the names of those removed.
local removed = {}
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #info, 2 do
    consumer[info[i]] = info[i + 1]
  end
  if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) and (ARGV[3] == '' or ARGV[3] == consumer.name) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed[#removed + 1] = consumer.name
  end
end
return removed
