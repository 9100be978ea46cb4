// Package postgres keeps the kit's records in PostgreSQL 14 or later, for
// providers that run on more than one machine.
package postgres
