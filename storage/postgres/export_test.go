package postgres

// Version is the schema version that the code works with.
const Version = version

// Statements returns what Get, Commit and Purge send, and a Find by one column.
func (s *Storage) Statements() (get, commit, purge, find string) {
	return s.get, s.commit, s.purge, s.find
}
