-- How many entries of a table expire, and those that do first.
-- KEYS: the index
-- ARGV: how many, what the entries' keys begin with
-- Answers the number, then name and value in turn.
local answer = {redis.call('ZCOUNT', KEYS[1], '-inf', '(+inf')}
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(+inf', 'LIMIT', 0, ARGV[1])
for _, name in ipairs(names) do
  local value = redis.call('GET', ARGV[2] .. name)
  if value then
    answer[#answer + 1] = name
    answer[#answer + 1] = value
  else
    -- The server has dropped it. One that takes no changes may still be asked.
    redis.pcall('ZREM', KEYS[1], name)
  end
end
return answer
