#!lua flags=allow-oom
-- Deletes those of the rows that expire before a time.
-- KEYS: the times of the tag, then rows. ARGV: the time in microseconds.
-- Returns {key, head, …} of what it deleted.
local done = {}
for i = 2, #KEYS do
	local row, expires, n, at = redis.call('GET', KEYS[i]), nil, nil, nil
	if row then
		expires, n, at = string.match(row, '^%l%d+ %S+ %d+ (%d+) (%d+) ()')
	end
	if not expires then -- Redis has dropped it, or it is no row
		redis.call('ZREM', KEYS[1], KEYS[i])
	elseif tonumber(expires) < tonumber(ARGV[1]) then -- has not been extended meanwhile
		redis.call('ZREM', KEYS[1], KEYS[i])
		redis.call('DEL', KEYS[i])
		done[#done + 1] = KEYS[i]
		done[#done + 1] = string.sub(row, 1, at + n - 1)
	end
end
return done
