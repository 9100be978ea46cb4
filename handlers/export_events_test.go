package handlers

// EventKind shows tests an entry of the catalogue: its outcome and the fields
// that such an event always has.
func EventKind(name string) (outcome, always string, ok bool) {
	k, ok := events[name]
	return k.outcome, k.always, ok
}
