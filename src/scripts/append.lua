-- Adds a message, unless one with the same id was added lately; and trims, but nothing that a group still needs.
-- KEYS: the stream, and to remember ids: their times, their entries. ARGV: the id or '', what tells this call from others,
-- how many milliseconds and how many ids are remembered, 'keep' to trim no further than the groups are or '', how many
-- entries stay or '', from which id on entries stay or '', then the fields. Without fields nothing is added.
-- Answers the entry's id, whether it was there before (1 or 0), and how many entries were trimmed. Nil and an error where
-- nothing was added because a command of the script failed.
local stream, seen, entries = KEYS[1], KEYS[2], KEYS[3]
local once, token, lasts, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local keep, length, from = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local FIELDS = 8

-- Ids as two numbers, of which the second may be too large for Lua: compared digit by digit.
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

-- The first id that a group still needs: the lowest of what is pending in a group and of what comes behind the last entry
-- that was delivered to it, which may be before that after XGROUP SETID. Nil where there is no group: who comes first may
-- want everything.
local function needed()
  local lowest, exclusive = nil, false
  local function need(id, behind)
    if not lowest or before(id, lowest) or (id == lowest and not behind) then
      lowest, exclusive = id, behind
    end
  end
  local groups = redis.call('XINFO', 'GROUPS', stream)
  for i = 1, #groups do
    local group = {}
    for j = 1, #groups[i], 2 do
      group[groups[i][j]] = groups[i][j + 1]
    end
    need(group['last-delivered-id'], true)
    if group.pending > 0 then
      need(redis.call('XPENDING', stream, group.name)[2], false)
    end
  end
  return lowest, exclusive
end

-- `coming` is how many are about to be added: done before that, an error of it leaves nothing half done.
local function trim(coming)
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local upto = '+'
  if keep == 'keep' then
    local lowest, exclusive = needed()
    if not lowest then
      return 0
    end
    -- What was delivered last and acknowledged may go, what is pending may not.
    upto = exclusive and lowest or '(' .. lowest
  end
  local trimmed = 0
  local function cut(page)
    local last = page[#page][1]
    trimmed = trimmed + redis.call('XTRIM', stream, 'MINID', last) + redis.call('XDEL', stream, last)
  end
  if from ~= '' then
    local old = redis.call('XREVRANGE', stream, upto, '-', 'COUNT', 1)
    if old[1] then
      if before(old[1][1], from) then
        cut(old)
      else
        trimmed = trimmed + redis.call('XTRIM', stream, 'MINID', from)
      end
    end
  end
  local excess = length and redis.call('XLEN', stream) + coming - length or 0
  if excess > 0 then
    local page = redis.call('XRANGE', stream, '-', upto, 'COUNT', math.min(excess, 64))
    if page[1] then
      cut(page)
    end
  end
  return trimmed
end

local id
local function append_once()
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- The longest window that a producer of this name has asked for counts. No id is empty, so this is none.
  local window = redis.call('HGET', entries, '')
  if window then
    local other_lasts, other_most = string.match(window, '^(%d+) (%d+)$')
    lasts, most = math.max(lasts, tonumber(other_lasts)), math.max(most, tonumber(other_most))
  end
  -- Looked for before others are forgotten: a repeated id needs no room, and must not be the one that makes it.
  local known, added = redis.call('HGET', entries, once), redis.call('ZSCORE', seen, once)
  if known and added and tonumber(added) > now - lasts then
    local entry, by = string.match(known, '^(%S+) ?(%S*)$')
    -- A call that is repeated because its reply was lost is answered as it would have been.
    return { entry, by == token and 0 or 1, 0 }
  end
  local stale = redis.call('ZRANGEBYSCORE', seen, '-inf', string.format('%.0f', now - lasts), 'LIMIT', 0, 64)
  local surplus = redis.call('ZCARD', seen) - #stale - most + 1
  if surplus > 0 then
    local oldest = redis.call('ZRANGE', seen, #stale, #stale + math.min(surplus, 64) - 1)
    for i = 1, #oldest do
      stale[#stale + 1] = oldest[i]
    end
  end
  if stale[1] then
    redis.call('ZREM', seen, unpack(stale))
    redis.call('HDEL', entries, unpack(stale))
  end
  local trimmed = trim(1)
  id = redis.call('XADD', stream, '*', unpack(ARGV, FIELDS))
  redis.call('ZADD', seen, string.format('%.0f', now), once)
  redis.call('HSET', entries, once, id .. ' ' .. token, '', string.format('%.0f %.0f', lasts, most))
  redis.call('PEXPIRE', seen, string.format('%.0f', lasts))
  redis.call('PEXPIRE', entries, string.format('%.0f', lasts))
  return { id, 0, trimmed }
end

local function append()
  if once ~= '' then
    return append_once()
  end
  if not ARGV[FIELDS] then
    return { '', 0, trim(0) }
  end
  local trimmed = trim(1)
  id = redis.call('XADD', stream, '*', unpack(ARGV, FIELDS))
  return { id, 0, trimmed }
end

local done, answer = pcall(append)
if done then
  return answer
end
local text = type(answer) == 'table' and answer.err or answer
-- What the client acts on is an error of the script: another server, no memory, no replicas.
local code = string.match(text, '^%-?(%u+) ')
if not id and (code == 'ERR' or code == 'WRONGTYPE' or code == 'NOPERM') then
  return { false, text }
end
return redis.error_reply(text)
