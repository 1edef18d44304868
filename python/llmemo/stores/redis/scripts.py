"""What the server carries out in one step, in Lua.

Every script gets a number as its first argument and returns it first: a reply that belongs to
another call is found out. All keys that a script touches have one hash tag, so that a cluster has
them on one node; where there is no cluster, one call takes the keys of all buckets.

An answer is a string (`frames`), a lease a hash of fence, end in milliseconds and failures in a
row. A fence of 0 is none: the lease was ended. Redis expires a lease a while after its end, since
failures are counted until then, and who is late is told from who has a successor.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script, and the name by which a server knows it once it has run there."""

    text: bytes
    sha: bytes


KEPT_MS = 60_000
"""Milliseconds for which a lease that has ended is remembered."""

LASTS_MS_MAX = 600_000
"""Milliseconds that no lease lasts: the engine's last five seconds."""

CHANGES_KEPT = 1_000
"""Entries that a stream of changes keeps, about. A process that falls behind by more clears
its memory."""

_COMMON = f"""
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function is_live(stored, now)
  if not stored then return false end
  return #stored < 92 or struct.unpack('>d', string.sub(stored, 5, 12)) > now
end

local function failed(result)
  return type(result) == 'table' and result.err ~= nil
end

local function tried(command, key, ...)
  local result = redis.pcall(command, key, ...)
  if failed(result) and string.find(result.err, 'WRONGTYPE', 1, true) then
    -- Another type under our key goes, as if it had not been there.
    redis.call('DEL', key)
    result = redis.pcall(command, key, ...)
  end
  return result
end

local function done(command, key, ...)
  local result = tried(command, key, ...)
  -- Once more, so that the error is raised.
  if failed(result) then return redis.call(command, key, ...) end
  return result
end

local function set_lease(key, fence, ends, failures, keep)
  local result = tried('HSET', key, 'f', fence, 'e', whole(ends), 'n', failures)
  if failed(result) then return false end
  redis.call('PEXPIRE', key, keep)
  return true
end

local function end_lease(key)
  -- A full server takes no more, but gives up what it has.
  if not set_lease(key, '0', 0, 0, {KEPT_MS}) then redis.call('DEL', key) end
end

local function answers()
  local names = {{}}
  for n = 1, #KEYS / 2 do names[n] = KEYS[2 * n - 1] end
  return redis.call('MGET', unpack(names))
end

local function answer(key)
  -- MGET, unlike GET, takes what is no string for nothing.
  return redis.call('MGET', key)[1]
end

local function note_change(stream, key, writer, sum)
  return tried(
    'XADD', stream, 'MAXLEN', '~', {CHANGES_KEPT}, '*', 'k', key, 'w', writer, 's', sum)
end

local function begin_changes(stream, mark)
  if done('XLEN', stream) == 0 then redis.call('XADD', stream, '*', 'b', mark) end
end
"""


def _script(text: str) -> Script:
    whole = (_COMMON + text).encode()
    return Script(whole, hashlib.sha1(whole).hexdigest().encode())  # noqa: S324 (Redis names them so)


READ = _script(f"""
-- KEYS: answer and lease of each key. ARGV: tag, first fence, Unix time of the client in seconds,
-- and for each key the milliseconds of the lease that is wanted, or 0.
-- Returns for each key the answer, and what there is of a lease: {{granted, left, failures}}.
local reply, now, client_now = {{ARGV[1]}}, nil, tonumber(ARGV[3])
local all = answers()
for n = 1, #all do
  local stored, lease = all[n], false
  local wanted = tonumber(ARGV[3 + n])
  if wanted > 0 and not is_live(stored, client_now) then
    now = now or now_ms()
    local found = done('HMGET', KEYS[2 * n], 'e', 'n', 'f')
    local ends, failures = tonumber(found[1] or 0), tonumber(found[2] or 0)
    local fence = whole(tonumber(ARGV[2]) + n)
    -- One that ends that late was granted before the server's clock went back.
    if ends - now > {LASTS_MS_MAX} then ends = 0 end
    if ends > now and found[3] == fence then
      -- It was granted by this very call, whose reply was lost.
      lease = {{1, wanted, failures}}
    elseif ends > now then
      lease = {{0, ends - now, failures}}
    elseif set_lease(KEYS[2 * n], fence, now + wanted, failures, wanted + {KEPT_MS}) then
      lease = {{1, wanted, failures}}
    end
  end
  reply[2 * n], reply[2 * n + 1] = stored, lease
end
return reply
""")
"""Answers, and the free leases of those that have none."""

PEEK = _script("""
-- KEYS: as above. ARGV: tag, Unix time of the client.
-- Returns for each key the answer if it is live, and the state of its lease: {left, failures}.
local reply, now, client_now = {ARGV[1]}, now_ms(), tonumber(ARGV[2])
local all = answers()
for n = 1, #all do
  local stored, lease = all[n], false
  if not is_live(stored, client_now) then
    stored = false
    local found = done('HMGET', KEYS[2 * n], 'e', 'n', 'f')
    if found[1] and (found[3] ~= '0' or found[2] ~= '0') then
      lease = {tonumber(found[1]) - now, tonumber(found[2])}
    end
  end
  reply[2 * n], reply[2 * n + 1] = stored, lease
end
return reply
""")
"""Answers, and the state of the leases of those that have none."""

WRITE = _script("""
-- KEYS: answer, lease, changes. ARGV: tag, value, milliseconds that it lives or 0, fence or '',
-- whether a lease that is gone may be a lost one, key, writer, and if only what is not there is
-- to be stored, the client's Unix time, else ''.
local fence = ARGV[4]
if fence ~= '' then
  local found = done('HGET', KEYS[2], 'f')
  if found ~= fence then
    local stored = answer(KEYS[1])
    -- What was stored by this very call, whose reply was lost, is stored again.
    local is_same = stored == ARGV[2]
    local is_lost = ARGV[5] == '1' and not found and not stored
    if not (is_same or is_lost) then return {ARGV[1], 0} end
  end
end
local is_there
if ARGV[8] ~= '' then
  local stored = answer(KEYS[1])
  if is_live(stored, tonumber(ARGV[8])) then return {ARGV[1], 0} end
  is_there = stored
else
  is_there = redis.call('EXISTS', KEYS[1]) == 1
end
begin_changes(KEYS[3], ARGV[1])
-- An answer that the server has evicted may be in memories still: what comes without a lease may
-- be there to replace it.
if is_there or (fence == '' and ARGV[8] == '') then
  local result = note_change(KEYS[3], ARGV[6], ARGV[7], string.sub(ARGV[2], 85, 92))
  if failed(result) then return result end
end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if fence ~= '' then end_lease(KEYS[2]) end
return {ARGV[1], 1}
""")
"""Stores an answer, unless its lease has another holder, and ends the lease."""

REMOVE = _script("""
-- KEYS: changes, and the answers to remove. ARGV: tag, writer, and a key for each answer.
local is_told = true
for n = 2, #KEYS do
  if failed(note_change(KEYS[1], ARGV[n + 1], ARGV[2], '')) then is_told = false end
end
local removed = 0
for n = 2, #KEYS do removed = removed + redis.call('DEL', KEYS[n]) end
-- On a full server nothing can be noted: without their changes, all other processes forget all.
if not is_told then redis.call('DEL', KEYS[1]) end
return {ARGV[1], removed}
""")
"""Removes answers by their keys."""

DISCARD = _script("""
-- KEYS: an answer. ARGV: tag, and what it is if it is to go.
if answer(KEYS[1]) ~= ARGV[2] then return {ARGV[1], 0} end
return {ARGV[1], redis.call('DEL', KEYS[1])}
""")
"""Removes an answer that cannot be read, unless another took its place."""

SWEEP = _script("""
-- KEYS: answers. ARGV: tag, and digest of namespace, digest of model description, Unix time
-- before which they were made; each may be ''.
local removed = 0
local namespace, llm, before = ARGV[2], ARGV[3], tonumber(ARGV[4])
for n = 1, #KEYS do
  local head = redis.pcall('GETRANGE', KEYS[n], 0, 91)
  -- What is no string is not an answer.
  if failed(head) then head = '?' end
  local is_meant = #head == 92
  if is_meant and namespace ~= '' then is_meant = string.sub(head, 21, 36) == namespace end
  if is_meant and llm ~= '' then is_meant = string.sub(head, 37, 52) == llm end
  if is_meant and before then
    is_meant = struct.unpack('>d', string.sub(head, 13, 20)) < before
  end
  local is_all = namespace == '' and llm == '' and not before
  if is_meant or (is_all and #head > 0) then removed = removed + redis.call('DEL', KEYS[n]) end
end
return {ARGV[1], removed}
""")
"""Removes those of some answers that match a selection."""

TELL = _script("""
-- KEYS: changes. ARGV: tag, what has changed, writer.
if failed(note_change(KEYS[1], ARGV[2], ARGV[3], '')) then redis.call('DEL', KEYS[1]) end
return {ARGV[1], 1}
""")
"""Tells the other processes of a removal."""

BEGIN = _script("""
-- KEYS: changes. ARGV: tag.
begin_changes(KEYS[1], ARGV[1])
return {ARGV[1], 1}
""")
"""Begins a stream of changes with a birth mark, unless there is one."""

RENEW = _script(f"""
-- KEYS: a lease. ARGV: tag, fence, milliseconds.
if done('HGET', KEYS[1], 'f') ~= ARGV[2] then return {{ARGV[1], 0}} end
redis.call('HSET', KEYS[1], 'e', whole(now_ms() + tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]) + {KEPT_MS})
return {{ARGV[1], 1}}
""")
"""Moves the end of a lease."""

RELEASE = _script(f"""
-- KEYS: a lease. ARGV: tag, fence, failures to add.
local found = done('HMGET', KEYS[1], 'f', 'n', 'r')
-- The last: it was released by this very call, whose reply was lost.
if found[1] ~= ARGV[2] or found[3] == ARGV[1] then return {{ARGV[1], 0}} end
local failures = tonumber(found[2]) + tonumber(ARGV[3])
if failures == 0 then
  end_lease(KEYS[1])
elseif set_lease(KEYS[1], ARGV[2], now_ms(), failures, {KEPT_MS}) then
  redis.pcall('HSET', KEYS[1], 'r', ARGV[1])
else
  redis.call('DEL', KEYS[1])
end
return {{ARGV[1], 1}}
""")
"""Ends a lease without an answer."""
