// Package redis keeps the kit's records in Redis.
package redis
