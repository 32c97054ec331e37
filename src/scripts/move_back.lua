-- Moves a value from the list KEYS[1] back to KEYS[2] by ARGV[3], if it is still there: ARGV[2] is 1 to look for it from
-- the head, -1 from the tail. Answers how many were moved.
if redis.call('LREM', KEYS[1], ARGV[2], ARGV[1]) == 0 then
    return 0
end
redis.call(ARGV[3], KEYS[2], ARGV[1])
return 1
