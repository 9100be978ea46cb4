#!lua
-- One Commit: judges all ops, then writes all or nothing. What could fail is
-- done before the first write.
--
-- KEYS: the times of the tag, then the row of each op.
-- ARGV: the second in which the commit began; then for each op verb, version,
-- id, until, expires, columns, data. id is ? for an update that has written no
-- index entries and may only keep those that are there.
-- Returns {op, why, row}, {-1} if an update needs index entries, or
-- {0, key, head, …}: rows whose index entries are of no more use.
local now = redis.call('TIME')
now = now[1] + now[2] / 1e6
if math.abs(now - ARGV[1]) > 1800 then -- half of the hour that rows outlive their time
	return redis.error_reply('CLOCK this commit began more than half an hour ago, or clocks differ by that')
end

local function parse(row)
	local state, version, id, till, expires, n, at = string.match(row, '^(%l)(%d+) (%S+) (%d+) (%S+) (%d+) ()')
	if not state then error('not a row of this program') end
	local from = 1 + #state + #version
	return {state = state, version = version, id = id, till = tonumber(till), expires = expires, from = from,
		columns = string.sub(row, at, at + n - 1), head = string.sub(row, 1, at + n - 1), row = row}
end

-- keeps tells whether a row's index entries serve until it is gone.
local function keeps(row, expires, columns)
	if columns ~= row.columns then return false end
	if row.id == '-' or row.till == 0 then return true end
	return expires ~= '-' and math.max(expires / 1e6, now) + 86400 <= row.till
end

local active = {update = true, consume = true, check = true}
local old, index = {}, false
redis.call('ZCARD', KEYS[1]) -- fails here or never
for i = 2, #KEYS do
	local a = 7 * (i - 2) + 1
	local verb, version, id, expires, columns = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 5], ARGV[a + 6]
	local row, why = redis.call('GET', KEYS[i]), nil
	if verb == 'insert' and row then
		why = 'exists'
	elseif active[verb] and not row then
		why = 'not found'
	elseif row then
		old[i] = parse(row)
		if active[verb] and old[i].state ~= 'a' then
			why = 'consumed'
		elseif verb == 'update' and old[i].version ~= version then
			why = 'conflict'
		elseif verb == 'update' and id == '?' and not keeps(old[i], expires, columns) then
			index = true
		end
	end
	if why then return {i - 1, why, row} end
end
if index then return {-1} end

local done = {0}
for i = 2, #KEYS do
	local a = 7 * (i - 2) + 1
	local verb, id, till, expires, columns, data = ARGV[a + 1], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6], ARGV[a + 7]
	local was = old[i]
	local version = was and string.format('%.0f', was.version + 1)
	if was and (verb == 'delete' or verb == 'update' and id ~= '?') and was.id ~= '-' then
		done[#done + 1] = KEYS[i]
		done[#done + 1] = was.head
	end
	if verb == 'consume' then
		redis.call('SET', KEYS[i], 'c' .. version .. string.sub(was.row, was.from), 'KEEPTTL')
	elseif verb == 'delete' then
		redis.call('DEL', KEYS[i])
		redis.call('ZREM', KEYS[1], KEYS[i])
	elseif verb ~= 'check' then
		if id == '?' then id, till = was.id, string.format('%.0f', was.till) end
		local row = 'a' .. (version or '1') .. ' ' .. id .. ' ' .. till .. ' ' .. expires .. ' ' .. #columns .. ' ' .. columns .. data
		if expires == '-' then
			redis.call('SET', KEYS[i], row)
			redis.call('ZREM', KEYS[1], KEYS[i])
		else
			redis.call('SET', KEYS[i], row, 'PXAT', string.format('%.0f', math.max(expires / 1e3, now * 1e3) + 3600001))
			redis.call('ZADD', KEYS[1], expires, KEYS[i])
		end
	end
end
return done
