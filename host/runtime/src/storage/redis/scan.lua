-- A page of a table.
-- KEYS: the index
-- ARGV: where to go on, about how many, what the entries' keys begin with
-- Answers where to go on ('0' after the last page), then name and value in turn.
local page = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local answer = {page[1]}
for i = 1, #page[2], 2 do
  local value = redis.call('GET', ARGV[3] .. page[2][i])
  if value then
    answer[#answer + 1] = page[2][i]
    answer[#answer + 1] = value
  end
end
return answer
