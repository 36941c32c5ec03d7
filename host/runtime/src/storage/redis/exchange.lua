-- Compare-and-exchange of an entry, and of its place in the table's index.
-- KEYS: the entry, the index
-- ARGV: the expected cell ('' for none), the new value ('' to remove it), when the server may drop it ('' for never),
--       the place in the index, the entry's name there, the grace in milliseconds
-- Answers 1 when it is stored, else what is there ('' for nothing).
local current = redis.call('GET', KEYS[1]) or ''
if ARGV[2] ~= '' and current == ARGV[2] then
  -- This very change, sent again because its answer was lost.
  return 1
end
if string.sub(current, 1, 56) ~= ARGV[1] then
  return current
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[5])
  return 1
end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[5])
-- What the server has dropped meanwhile leaves the index as work goes on.
local time = redis.call('TIME')
local dropped = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[6]
local names = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', dropped), 'LIMIT', 0, 4)
for _, name in ipairs(names) do
  redis.call('ZREM', KEYS[2], name)
end
return 1
