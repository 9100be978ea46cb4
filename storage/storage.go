// Package storage is the whole persistence contract of the kit: records and
// four methods. It knows nothing of OAuth.
//
// The one writing method, Commit, is a conditional batch: "if these rows are
// still so, write these rows; else write nothing, tell me which row was not
// so, and show it". Reading, deciding and then writing does not exist in the
// interface, so a handler cannot spend a one-time record twice, whatever the
// backend.
//
// # Contract
//
// Get, Find and Commit are linearizable: whoever has seen a Commit return sees
// its effect. All methods are safe for concurrent use. Records passed in and
// out are copies; neither side may see later changes of the other.
//
// A Commit names each [Ref] once and stays in one [Ref.Shard]; a backend
// refuses anything else with [ErrInvalid] even when it has no use for shards.
// Backends lock rows in the order of [LockOrder], so that crossing batches
// cannot deadlock.
//
// A backend repeats only what is known not to have happened (a serialization
// failure, a deadlock, a busy database before the first write). When the
// outcome is unknown it returns [ErrUnavailable] and does not repeat: the
// caller answers 503 and the client tries again.
//
// [Record.ExpiresAt] bounds retention, not validity: a backend may drop a
// record after it, never before it, and never hides a record because of it.
// Validity is judged by the kit's own clock.
//
// No secret is ever handed to a backend: a Key is a digest, and Data holds
// nothing that works as a credential.
//
// # Decorators
//
// [Encrypted], [Prefixed], [Route] and [Observed] add something to any backend
// and keep the contract. There is no cache: a Get that misses the revocation of
// a moment ago is what the contract exists to prevent.
package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Storage is implemented by every backend.
type Storage interface {
	// Get returns the record, whatever its state, or ErrNotFound.
	Get(ctx context.Context, ref Ref) (*Record, error)

	// Commit applies every op or none. When a precondition fails it returns a
	// *ConflictError for the lowest failing op.
	Commit(ctx context.Context, ops ...Op) error

	// Find pages through the records of one kind that match the query, in a
	// stable order. A record that exists from before the first page until after
	// the last one is on exactly one page.
	Find(ctx context.Context, q Query) (Page, error)

	// Purge deletes up to limit records whose ExpiresAt is set and before t,
	// and returns how many it deleted.
	Purge(ctx context.Context, before time.Time, limit int) (deleted int, err error)
}

// Kind names a family of records. Kinds never share a key space.
type Kind string

// The kinds the kit stores. Flow kinds carry their shard in the handle that
// names them; all other kinds derive it from their key.
const (
	KindPAR         Kind = "par"         // flow: pushed authorization request, RFC 9126
	KindInteraction Kind = "interaction" // flow: authorization request waiting for a person
	KindCode        Kind = "code"        // flow: authorization code
	KindGrant       Kind = "grant"       // flow: one authorization event; the unit of revocation
	KindDevice      Kind = "device"      // flow: device authorization, RFC 8628
	KindCIBA        Kind = "ciba"        // flow: backchannel authentication request
	KindUserCode    Kind = "user_code"   // second name of a device authorization
	KindPoll        Kind = "poll"        // poll times of a device or CIBA client
	KindConsent     Kind = "consent"     // remembered decision of a subject for a client
	KindSession     Kind = "session"     // single sign-on session of a browser
	KindLogout      Kind = "logout"      // logout notifications to be delivered
	KindReplay      Kind = "replay"      // single-use mark of a jti
	KindClient      Kind = "client"      // registered client, RFC 7591
	KindKey         Kind = "key"         // sealed signing keys
)

// State of a record. The zero value is Active.
type State uint8

// The states. There is no way back from Consumed.
const (
	Active   State = iota
	Consumed       // spent or revoked; kept until ExpiresAt so that reuse is seen
)

// Ref addresses one record.
type Ref struct {
	Kind  Kind
	Shard uint16
	Key   string // 1 to 512 bytes, compared byte by byte
}

// Record is one row. A backend indexes Ref (unique), and Subject, Client,
// Session and Grant within a Kind where they are not empty.
type Record struct {
	Ref
	Version   int64 // 1 at Insert, one more at every write; set by the backend
	State     State
	Subject   string
	Client    string
	Session   string
	Grant     string
	ExpiresAt time.Time // retention, to the microsecond, 1970 to 9999; zero: kept for ever
	Data      []byte    // opaque; at most 64 KiB
}

// Clone returns a deep copy.
func (r *Record) Clone() *Record {
	if r == nil {
		return nil
	}
	c := *r
	c.Data = bytes.Clone(r.Data)
	return &c
}

// Verb says what an Op demands and does.
type Verb uint8

// The verbs.
const (
	VerbInsert  Verb = iota + 1 // demands: no such row. ErrExists
	VerbUpdate                  // demands: Active and of this Version. ErrNotFound, ErrConsumed, ErrConflict
	VerbConsume                 // demands: Active. ErrNotFound, ErrConsumed
	VerbDelete                  // demands nothing; an absent row is fine
	VerbCheck                   // demands: Active; writes nothing. ErrNotFound, ErrConsumed
)

// String returns the verb's name.
func (v Verb) String() string {
	names := [...]string{"invalid", "insert", "update", "consume", "delete", "check"}
	if int(v) >= len(names) {
		v = 0
	}
	return names[v]
}

// Op is one conditional write. Build it with Insert, Update, Consume, Delete
// or Check.
type Op struct {
	Verb   Verb
	Record Record // for Consume, Delete and Check only the Ref counts
}

// Insert adds a row that must not exist.
func Insert(r Record) Op { return Op{VerbInsert, r} }

// Update replaces an active row that still has r.Version.
func Update(r Record) Op { return Op{VerbUpdate, r} }

// Consume turns an active row into a consumed one. It names no version, so it
// cannot lose to a row that is being updated all the time.
func Consume(ref Ref) Op { return Op{VerbConsume, Record{Ref: ref}} }

// Delete removes a row if it is there.
func Delete(ref Ref) Op { return Op{VerbDelete, Record{Ref: ref}} }

// Check demands an active row and leaves it as it is, its version included.
func Check(ref Ref) Op { return Op{VerbCheck, Record{Ref: ref}} }

// Judge tells whether op may be applied to the row as it is now (nil: absent).
// It returns nil, ErrExists, ErrNotFound, ErrConsumed or ErrConflict. Backends
// call it so that all of them judge alike.
func (op Op) Judge(current *Record) error {
	switch op.Verb {
	case VerbInsert:
		if current != nil {
			return ErrExists
		}
	case VerbUpdate, VerbConsume, VerbCheck:
		switch {
		case current == nil:
			return ErrNotFound
		case current.State != Active:
			return ErrConsumed
		case op.Verb == VerbUpdate && current.Version != op.Record.Version:
			return ErrConflict
		}
	case VerbDelete:
	default:
		return ErrInvalid
	}
	return nil
}

// Apply returns the row as it is after op, nil if there is none. The result
// shares nothing with op or current. Call it only when Judge returned nil.
func (op Op) Apply(current *Record) *Record {
	switch op.Verb {
	case VerbInsert:
		next := op.Record.Clone()
		next.Version, next.ExpiresAt = 1, Time(next.ExpiresAt)
		return next
	case VerbUpdate:
		next := op.Record.Clone()
		next.Version, next.ExpiresAt = current.Version+1, Time(next.ExpiresAt)
		return next
	case VerbConsume:
		next := current.Clone()
		next.Version, next.State = current.Version+1, Consumed
		return next
	case VerbCheck:
		return current.Clone()
	}
	return nil
}

// Time returns t as records keep it: UTC, cut to the microsecond, the zero
// time unchanged.
func Time(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// Limits that every backend enforces through Validate and Query.Validate.
const (
	MaxKey   = 512      // bytes of a Key, and of each indexed column
	MaxData  = 64 << 10 // bytes of Data
	MaxOps   = 16       // ops of one Commit
	MaxLimit = 1000     // records of one Page
)

// Validate returns nil or an error that wraps ErrInvalid: no op, too many, an
// unknown verb, an empty or too long key, a time that no backend can keep, a
// Ref named twice, two shards.
// Backends call it first in Commit.
func Validate(ops []Op) error {
	if len(ops) == 0 || len(ops) > MaxOps {
		return fmt.Errorf("%w: %d ops in a commit", ErrInvalid, len(ops))
	}
	for i, op := range ops {
		r := &op.Record
		switch {
		case op.Verb < VerbInsert || op.Verb > VerbCheck:
			return fmt.Errorf("%w: op %d: unknown verb", ErrInvalid, i)
		case r.Kind == "" || len(r.Kind) > 32:
			return fmt.Errorf("%w: op %d: kind of %d bytes", ErrInvalid, i, len(r.Kind))
		case r.Key == "" || len(r.Key) > MaxKey:
			return fmt.Errorf("%w: op %d: key of %d bytes", ErrInvalid, i, len(r.Key))
		case len(r.Subject) > MaxKey || len(r.Client) > MaxKey || len(r.Session) > MaxKey || len(r.Grant) > MaxKey:
			return fmt.Errorf("%w: op %d: an indexed column is too long", ErrInvalid, i)
		case len(r.Data) > MaxData:
			return fmt.Errorf("%w: op %d: data of %d bytes", ErrInvalid, i, len(r.Data))
		case !r.ExpiresAt.IsZero() && (r.ExpiresAt.Unix() < 0 || r.ExpiresAt.UTC().Year() > 9999):
			return fmt.Errorf("%w: op %d: expires in the year %d", ErrInvalid, i, r.ExpiresAt.UTC().Year())
		case op.Verb == VerbInsert && r.State != Active:
			return fmt.Errorf("%w: op %d: inserted row must be active", ErrInvalid, i)
		case op.Verb == VerbUpdate && r.State != Active:
			return fmt.Errorf("%w: op %d: only Consume consumes", ErrInvalid, i)
		case r.Shard != ops[0].Record.Shard:
			return fmt.Errorf("%w: op %d: shard %d in a commit of shard %d", ErrInvalid, i, r.Shard, ops[0].Record.Shard)
		}
		for j := range i {
			if ops[j].Record.Ref == r.Ref {
				return fmt.Errorf("%w: op %d: a %s is named twice", ErrInvalid, i, r.Kind)
			}
		}
	}
	return nil
}

// LockOrder returns the indexes of ops in the order in which a backend locks
// rows: by Kind, then Key.
func LockOrder(ops []Op) []int {
	order := make([]int, len(ops))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := ops[a].Record.Ref, ops[b].Record.Ref
		if c := strings.Compare(string(x.Kind), string(y.Kind)); c != 0 {
			return c
		}
		return strings.Compare(x.Key, y.Key)
	})
	return order
}

// Query selects records of one kind, of any state. Columns that are set must
// all match; at least one of the four must be set.
type Query struct {
	Kind                            Kind
	Subject, Client, Session, Grant string
	After                           string // Page.Next of the page before; empty: from the start
	Limit                           int    // 1 to MaxLimit; 0: 100
}

// Validate returns nil or an error that wraps ErrInvalid, and fills in the
// default of Limit. Backends call it first in Find.
func (q *Query) Validate() error {
	if q.Limit == 0 {
		q.Limit = 100
	}
	switch {
	case q.Kind == "":
		return fmt.Errorf("%w: query without a kind", ErrInvalid)
	case q.Subject == "" && q.Client == "" && q.Session == "" && q.Grant == "":
		return fmt.Errorf("%w: query without a column", ErrInvalid)
	case q.Limit < 0 || q.Limit > MaxLimit:
		return fmt.Errorf("%w: query limit %d", ErrInvalid, q.Limit)
	}
	return nil
}

// Matches tells whether r is of the query's kind and columns.
func (q *Query) Matches(r *Record) bool {
	return r.Kind == q.Kind &&
		(q.Subject == "" || q.Subject == r.Subject) &&
		(q.Client == "" || q.Client == r.Client) &&
		(q.Session == "" || q.Session == r.Session) &&
		(q.Grant == "" || q.Grant == r.Grant)
}

// Page is a part of what a Query selects.
type Page struct {
	Records []*Record
	Next    string // empty: this was the last page
}

// Errors. Backends return them as they are or wrapped; the kit compares with
// errors.Is. Any other error counts as ErrUnavailable.
var (
	ErrNotFound    = errors.New("storage: not found")
	ErrExists      = errors.New("storage: already exists")
	ErrConsumed    = errors.New("storage: consumed")
	ErrConflict    = errors.New("storage: version conflict")
	ErrInvalid     = errors.New("storage: invalid request") // a fault of the caller
	ErrUnavailable = errors.New("storage: unavailable")     // outcome unknown
)

// ConflictError names the lowest op whose precondition failed and carries the
// row as it is now, so that the loser of a race tells reuse from revocation
// without another read. It unwraps to Err.
type ConflictError struct {
	Index   int
	Op      Op
	Current *Record // nil: absent
	Err     error   // ErrExists, ErrNotFound, ErrConsumed or ErrConflict
}

// Error names the op, never the row's data.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("op %d (%s %s): %v", e.Index, e.Op.Verb, e.Op.Record.Kind, e.Err)
}

// Unwrap returns Err.
func (e *ConflictError) Unwrap() error { return e.Err }
