#!lua flags=allow-oom
-- Reads an index in its order. A script that might write runs on masters only.
-- KEYS: the index. ARGV: from where, how many.
return redis.call('ZRANGE', KEYS[1], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
