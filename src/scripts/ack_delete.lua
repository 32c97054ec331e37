-- Acknowledges entries, and deletes those that no group needs any more: what XACKDEL .. ACKED does.
-- KEYS: the stream. ARGV: group, ids. Answers how many were deleted.
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))

local function before(a, b)
  local a1, a2 = string.match(a, '^(%d+)-(%d+)$')
  local b1, b2 = string.match(b, '^(%d+)-(%d+)$')
  if a1 == b1 then
    a1, b1 = a2, b2
  end
  if #a1 ~= #b1 then
    return #a1 < #b1
  end
  return a1 < b1
end

local function delete()
  local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
  local gone = {}
  for i = 2, #ARGV do
    local needed = false
    for j = 1, #groups do
      local group = {}
      for k = 1, #groups[j], 2 do
        group[groups[j][k]] = groups[j][k + 1]
      end
      local delivered = not before(group['last-delivered-id'], ARGV[i])
      if not delivered or redis.call('XPENDING', KEYS[1], group.name, ARGV[i], ARGV[i], 1)[1] then
        needed = true
        break
      end
    end
    if not needed then
      gone[#gone + 1] = ARGV[i]
    end
  end
  if not gone[1] then
    return 0
  end
  return redis.call('XDEL', KEYS[1], unpack(gone))
end

-- A user who may not look or delete has acknowledged them all the same: an error would have it done again without end.
local done, deleted = pcall(delete)
return done and deleted or 0
