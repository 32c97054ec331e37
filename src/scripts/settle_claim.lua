-- Ends a claim on an effect, if it is still ours.
-- KEYS: the claim. ARGV: its token, then nothing to let it go, or what says that the effect is there and how many
-- milliseconds that is remembered. Answers whether it was ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
