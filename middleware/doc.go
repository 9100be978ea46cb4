// Package middleware is HTTP hygiene and resource protection, one concern a
// file, each a [Func]. It imports nothing outside the kit's internal
// packages and the standard library, knows no provider, and can guard any API.
//
// The order matters in three places. Edge comes first, so that everybody after
// it sees the client's address; Log comes before Recover, so that it sees the
// 500; CORS comes before whatever can refuse, so that a script can read the
// refusal:
//
//	middleware.Chain(mux, edge.Wrap, middleware.Log(log), middleware.Recover(log),
//		middleware.SecurityHeaders, middleware.MaxBody(64<<10))
//
// Headers are set before the handler runs, so a handler that knows better
// overwrites them with Set.
package middleware
