// Package idpkit is the map of the kit; it has no code of its own.
package idpkit
