
end
local keys, args = {}, {}
for i = 1, #KEYS - 1 do
  keys[i] = KEYS[i]
end
for i = 1, #ARGV - 3 do
  args[i] = ARGV[i]
end
local stream, group, consumer, id = KEYS[#KEYS], ARGV[#ARGV - 2], ARGV[#ARGV - 1], ARGV[#ARGV]
local pending = redis.call('XPENDING', stream, group, id, id, 1)
if not pending[1] or pending[1][2] ~= consumer then
  return false
end
local reply = work(keys, args)
if type(reply) == 'table' and reply.err then
  return reply
end
redis.call('XACK', stream, group, id)
return { reply }
