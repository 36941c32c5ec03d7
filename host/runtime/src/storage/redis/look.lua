-- The server's clock, and which run of which server it is ('' for a user who may not ask).
-- KEYS: any key of the tenant, so that a cluster asks the node that decides over it
local time = redis.call('TIME')
local info = redis.pcall('INFO', 'server')
local run = ''
if type(info) == 'string' then
  run = string.match(info, 'run_id:(%x+)') or ''
end
return {time[1], time[2], run}
