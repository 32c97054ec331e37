-- Forgets a message whose time has not come.
-- KEYS: the times, the messages. ARGV: its ticket. Answers 1, or 0 where it is not there any more.
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
