-- The server's clock, which run of which server it is ('' for a user who may not ask), and why it takes no changes
-- ('' for one that does). A replica's answer is its refusal: what it knows may be old.
-- KEYS: one of the tenant that is never set
local changed = redis.pcall('DEL', KEYS[1])
local refusal = type(changed) == 'table' and changed.err or ''
if string.find(refusal, 'READONLY', 1, true) then
  return changed
end
local time = redis.call('TIME')
local info = redis.pcall('INFO', 'server')
local run = ''
if type(info) == 'string' then
  run = string.match(info, 'run_id:(%x+)') or ''
end
return {time[1], time[2], run, refusal}
