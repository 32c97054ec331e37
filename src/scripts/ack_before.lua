-- Stands before a script of the user, and ack_after.lua behind it: the whole runs it and acknowledges the entry for
-- which it is, if that is still ours. A script that fails ends the whole before XACK.
-- KEYS: those of the user's script, then the stream. ARGV: its arguments, then group, consumer, id.
-- Answers a list with the reply, or nil where the entry is not ours.
local function work(KEYS, ARGV)
