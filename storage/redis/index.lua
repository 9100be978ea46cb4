#!lua
-- Adds an entry to an index, which lives as long as its longest row.
-- KEYS: the index. ARGV: the entry; milliseconds, or 0 for ever.
local fresh = redis.call('EXISTS', KEYS[1]) == 0
redis.call('ZADD', KEYS[1], 0, ARGV[1])
if ARGV[2] == '0' then
	redis.call('PERSIST', KEYS[1])
elseif fresh then
	redis.call('PEXPIREAT', KEYS[1], ARGV[2])
else -- to GT a key without a time has the greatest
	redis.call('PEXPIREAT', KEYS[1], ARGV[2], 'GT')
end
return 1
