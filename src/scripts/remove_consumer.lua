-- Removes a consumer that has nothing pending and has been idle. XGROUP DELCONSUMER alone would discard what is
-- pending for it.
-- KEYS: the stream. ARGV: group, consumer, how many milliseconds it must have been idle.
-- Answers 1, or 0 where there is none, -1 where it is not idle that long, or how many entries are pending for it.
local consumers = redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for i = 1, #consumers do
  local consumer = {}
  for j = 1, #consumers[i], 2 do
    consumer[consumers[i][j]] = consumers[i][j + 1]
  end
  if consumer.name == ARGV[2] then
    if consumer.pending > 0 then
      return { consumer.pending }
    end
    if consumer.idle < tonumber(ARGV[3]) then
      return -1
    end
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
