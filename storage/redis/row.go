package redis

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// tags is how many hash tags the shards share. Each has an index of times, all
// of which a Purge asks; a Cluster can spread that many pieces.
const tags = 1024

// A row's value is text up to its data:
//
//	<a|c><version> <id> <till> <expires> <length of columns> <columns><data>
//
// id is that of the commit that wrote its index entries, till the second until
// which they last (0: for ever), expires the microsecond (-: never).

func (s *Storage) tag(n int) string { return s.prefix + "{" + strconv.Itoa(n) + "}" }

func (s *Storage) times(tag int) string { return s.tag(tag) + "expires" }

// row names a row. Escaping keeps kind and key apart.
func (s *Storage) row(ref storage.Ref) string {
	return fmt.Sprintf("%s%04x:%s:%s", s.tag(int(ref.Shard)%tags), ref.Shard, url.QueryEscape(string(ref.Kind)), ref.Key)
}

// ref is the reverse of row.
func (s *Storage) ref(row string) (ref storage.Ref, err error) {
	_, rest, _ := strings.Cut(row, "}")
	part := strings.SplitN(rest, ":", 3)
	if len(part) != 3 {
		return ref, errors.New("not the key of a row")
	}
	kind, err := url.QueryUnescape(part[1])
	shard, err2 := strconv.ParseUint(part[0], 16, 16)
	return storage.Ref{Kind: storage.Kind(kind), Shard: uint16(shard), Key: part[2]}, errors.Join(err, err2)
}

// columns are the indexed ones, the narrowest first.
var columns = [...]string{"grant", "session", "subject", "client"}

func values(r *storage.Record) [4]string {
	return [...]string{r.Grant, r.Session, r.Subject, r.Client}
}

func (s *Storage) index(kind storage.Kind, column int, value string) string {
	return s.prefix + ":" + columns[column] + ":" + url.QueryEscape(string(kind)) + ":" + value
}

// An entry of an index is position, "!" and the id of the commit that wrote it.
// No escaped text holds a byte as low as "!": entries of one record are
// neighbours.
func position(ref storage.Ref) string {
	return fmt.Sprintf("%04x%s", ref.Shard, url.QueryEscape(ref.Key))
}

func entry(ref storage.Ref, id string) string { return position(ref) + "!" + id }

func parseEntry(kind storage.Kind, e string) (ref storage.Ref, id string, err error) {
	at, id, ok := strings.Cut(e, "!")
	if !ok || len(at) < 4 {
		return ref, "", errors.New("not an entry of an index")
	}
	key, err := url.QueryUnescape(at[4:])
	shard, err2 := strconv.ParseUint(at[:4], 16, 16)
	return storage.Ref{Kind: kind, Shard: uint16(shard), Key: key}, id, errors.Join(err, err2)
}

// newID is the hour and 48 random bits: short, so that small indexes stay
// compact (zset-max-listpack-value).
func newID(now time.Time) string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return strconv.FormatInt(now.Unix()/3600, 36) + base64.RawURLEncoding.EncodeToString(b[:])
}

// age tells how long ago the commit of that id began, to the hour.
func age(id string, now time.Time) time.Duration {
	hour, err := strconv.ParseInt(id[:max(len(id)-8, 0)], 36, 32)
	if err != nil {
		return 0
	}
	return now.Sub(time.Unix(hour*3600, 0))
}

// till is the second until which index entries of r shall last: a day longer
// than the row, and as long again as the row lives, so that one that is
// extended again and again seldom needs new ones. 0: for ever.
func till(r *storage.Record, now time.Time) int64 {
	if r.ExpiresAt.IsZero() {
		return 0
	}
	end := max(r.ExpiresAt.Unix(), now.Unix())
	return end + (end - now.Unix()) + 48*3600
}

func expires(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

// pack writes the columns, which all are there.
func pack(r *storage.Record) string {
	var b strings.Builder
	for _, v := range values(r) {
		fmt.Fprintf(&b, "%d:%s", len(v), v)
	}
	return b.String()
}

// parse reads a row, or its head, and the id of its index entries.
func parse(ref storage.Ref, text string) (*storage.Record, string, error) {
	damaged := errors.New("not a row of this program")
	part := strings.SplitN(text, " ", 6)
	if len(part) != 6 || part[0] == "" {
		return nil, "", damaged
	}
	r := &storage.Record{Ref: ref}
	if part[0][0] == 'c' {
		r.State = storage.Consumed
	}
	var err error
	if r.Version, err = strconv.ParseInt(part[0][1:], 10, 64); err != nil {
		return nil, "", damaged
	}
	if part[3] != "-" {
		micros, err := strconv.ParseInt(part[3], 10, 64)
		if err != nil {
			return nil, "", damaged
		}
		r.ExpiresAt = time.UnixMicro(micros).UTC()
	}
	rest := part[5]
	for _, v := range []*string{&r.Grant, &r.Session, &r.Subject, &r.Client} {
		length, after, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > len(after) {
			return nil, "", damaged
		}
		*v, rest = strings.Clone(after[:n]), after[n:]
	}
	r.Data = []byte(rest)
	return r, part[1], nil
}
