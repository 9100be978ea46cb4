package handlers

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/internal/jose"
	"github.com/idpkit/idpkit/storage"
)

// rotatingKeys keeps one record per algorithm in Storage. Every replica reads
// the same records and follows the same clock rules, so they agree without
// talking to each other: a key is published from the moment it is written,
// signs from activeAt on, and is published until the tokens it signed are dead.
type rotatingKeys struct {
	p     *Provider
	every time.Duration

	mu   sync.Mutex // held while loading
	sets sync.Map   // alg -> *keySet
}

const (
	keyRefresh = time.Minute      // how old a replica's view may be
	jwksMaxAge = 5 * time.Minute  // Cache-Control of JWKS
	keyLead    = 10 * time.Minute // published before use: jwksMaxAge + keyRefresh, doubled for slow clocks
)

// storedKeys is the record of one algorithm: keys under other secrets, then
// ours, oldest first.
type storedKeys struct {
	Keys    []storedKey  `json:"keys"`
	Retired []retiredKey `json:"retired,omitempty"`
}

// retiredKey is the public half of a key that is no longer published. ID tokens
// come back as hints long after they have expired.
type retiredKey struct {
	ID     string    `json:"kid"`
	Public []byte    `json:"public"` // PKIX
	Until  time.Time `json:"until"`
}

type storedKey struct {
	ID       string    `json:"kid"`
	Sealed   []byte    `json:"sealed"` // PKCS #8
	ActiveAt time.Time `json:"active_at"`
}

const keyPurpose = "signing key"

type keySet struct {
	loaded  time.Time
	keys    []liveKey
	retired []retiredKey
}

type liveKey struct {
	SigningKey
	activeAt time.Time
	old      bool          // sealed under a secret that is not the first
	prepared crypto.Signer // the same key, for signing
}

func newLiveKey(k SigningKey, activeAt time.Time, old bool) (liveKey, error) {
	prepared, err := jose.Prepare(k.Alg, k.Signer)
	return liveKey{k, activeAt, old, prepared}, err
}

func (k *rotatingKeys) Algorithms() []string { return k.p.cfg.SigningAlgs }

func (k *rotatingKeys) Signer(ctx context.Context, alg string) (SigningKey, error) {
	set, err := k.set(ctx, alg)
	if err != nil {
		return SigningKey{}, err
	}
	now := k.p.now()
	for i := len(set.keys) - 1; i >= 0; i-- {
		if !set.keys[i].activeAt.After(now) {
			k := set.keys[i]
			return SigningKey{k.ID, k.Alg, k.prepared}, nil
		}
	}
	return SigningKey{}, fmt.Errorf("handlers: no active key for %s", alg)
}

func (k *rotatingKeys) Public(ctx context.Context) ([]PublicKey, error) {
	var keys []PublicKey
	for _, alg := range k.p.cfg.SigningAlgs {
		set, err := k.set(ctx, alg)
		if err != nil {
			return nil, err
		}
		for i := len(set.keys) - 1; i >= 0; i-- {
			keys = append(keys, PublicKey{set.keys[i].ID, alg, set.keys[i].Signer.Public()})
		}
	}
	return keys, nil
}

// set returns the keys of an algorithm, from memory if they are fresh.
func (k *rotatingKeys) set(ctx context.Context, alg string) (*keySet, error) {
	if v, ok := k.sets.Load(alg); ok && k.fresh(v.(*keySet)) {
		return v.(*keySet), nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old, _ := k.sets.Load(alg)
	if old != nil && k.fresh(old.(*keySet)) {
		return old.(*keySet), nil
	}
	set, err := k.load(ctx, alg)
	if err != nil {
		if old != nil && k.p.now().Sub(old.(*keySet).loaded) < keyLead/2 {
			return old.(*keySet), nil // storage is away; nobody can have rotated past what we hold
		}
		return nil, err
	}
	k.sets.Store(alg, set)
	return set, nil
}

func (k *rotatingKeys) fresh(s *keySet) bool {
	age := k.p.now().Sub(s.loaded)
	return age >= 0 && age < keyRefresh
}

func (k *rotatingKeys) ref(alg string) storage.Ref {
	key := "signing/" + alg
	return storage.Ref{Kind: storage.KindKey, Shard: handle.ShardOf(key), Key: key}
}

// load reads the record, makes the first key if there is none, and adds the
// next one when it is time.
func (k *rotatingKeys) load(ctx context.Context, alg string) (*keySet, error) {
	for range 3 { // a lost race means that another replica has just written
		rec, err := k.p.store.Get(ctx, k.ref(alg))
		var stored storedKeys
		switch {
		case errors.Is(err, storage.ErrNotFound):
			rec = &storage.Record{Ref: k.ref(alg)}
		case err != nil:
			return nil, err
		default:
			if err := json.Unmarshal(rec.Data, &stored); err != nil {
				return nil, fmt.Errorf("reading %s keys: %w", alg, err)
			}
		}
		foreign, mine, err := k.open(ctx, alg, stored)
		if err != nil {
			return nil, err
		}
		next, changed, err := k.rotate(alg, mine)
		if err != nil {
			return nil, err
		}
		if !changed {
			return &keySet{k.p.now(), next, stored.Retired}, nil
		}
		retired, err := k.retire(stored.Retired, mine, next)
		if err != nil {
			return nil, err
		}
		out := *rec
		if out.Data, err = k.seal(foreign, next, retired); err != nil {
			return nil, err
		}
		op := storage.Update(out)
		if rec.Version == 0 {
			op = storage.Insert(out)
		}
		switch err := k.p.store.Commit(ctx, op); {
		case err == nil:
			if len(next) > len(mine) {
				k.p.emit(ctx, nil, Event{Name: "key.rotated", Reason: alg})
			}
			return &keySet{k.p.now(), next, retired}, nil
		case errors.Is(err, storage.ErrExists), errors.Is(err, storage.ErrConflict):
		default:
			return nil, err
		}
	}
	return nil, fmt.Errorf("rotating %s keys: %w", alg, storage.ErrUnavailable)
}

// rotate returns the keys as they should be now. A key is dropped when its
// successor has been active for longer than any token lives. A key under an
// older secret is sealed again under the first, so that the older one can go.
func (k *rotatingKeys) rotate(alg string, keys []liveKey) (next []liveKey, changed bool, err error) {
	now, keep := k.p.now(), max(k.p.cfg.TTL.ID, k.p.cfg.TTL.Access)+jwksMaxAge
	next = slices.Clone(keys)
	for len(next) > 1 && now.Sub(next[1].activeAt) > keep {
		next, changed = next[1:], true
	}
	changed = changed || slices.ContainsFunc(next, func(l liveKey) bool { return l.old })
	activeAt := now
	if n := len(next); n > 0 {
		if now.Before(next[n-1].activeAt.Add(k.every - keyLead)) {
			return next, changed, nil
		}
		activeAt = now.Add(keyLead)
	}
	added, err := generate(alg, activeAt)
	return append(next, added), true, err
}

// retire keeps the public halves of the keys that were dropped, for as long as a
// session or a refresh chain that their ID tokens speak of can last.
func (k *rotatingKeys) retire(retired []retiredKey, before, after []liveKey) ([]retiredKey, error) {
	now := k.p.now()
	retired = slices.DeleteFunc(slices.Clone(retired), func(r retiredKey) bool { return !now.Before(r.Until) })
	for _, l := range before {
		if slices.ContainsFunc(after, func(a liveKey) bool { return a.ID == l.ID }) {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(l.Signer.Public())
		if err != nil {
			return nil, err
		}
		retired = append(retired, retiredKey{l.ID, der, now.Add(max(k.p.cfg.TTL.Session, k.p.cfg.TTL.Refresh))})
	}
	return retired, nil
}

// former returns the keys that are no longer published, to read hints with.
func (k *rotatingKeys) former(ctx context.Context) ([]PublicKey, error) {
	var keys []PublicKey
	for _, alg := range k.p.cfg.SigningAlgs {
		set, err := k.set(ctx, alg)
		if err != nil {
			return nil, err
		}
		for _, r := range set.retired {
			if !k.p.now().Before(r.Until) {
				continue
			}
			pub, err := x509.ParsePKIXPublicKey(r.Public)
			if err != nil {
				return nil, fmt.Errorf("retired key %s: %w", r.ID, err)
			}
			keys = append(keys, PublicKey{r.ID, alg, pub})
		}
	}
	return keys, nil
}

func generate(alg string, activeAt time.Time) (liveKey, error) {
	signer, err := jose.Generate(alg)
	if err != nil {
		return liveKey{}, err
	}
	kid, err := jose.Thumbprint(signer.Public())
	if err != nil {
		return liveKey{}, err
	}
	return newLiveKey(SigningKey{kid, alg, signer}, activeAt, false)
}

// open opens the stored keys. Those under a secret that is not ours stay in the
// record and are neither used nor published: the secret was removed because it
// leaked, or another replica has a wrong one, and neither may stop this one.
func (k *rotatingKeys) open(ctx context.Context, alg string, s storedKeys) (foreign []storedKey, mine []liveKey, err error) {
	for _, sk := range s.Keys {
		der, err := k.p.seal.Open(keyPurpose, sk.Sealed)
		if err != nil {
			k.p.cfg.Log.ErrorContext(ctx, "a signing key is sealed under a secret that is not in Config.Secrets", "kid", sk.ID, "alg", alg)
			if k.p.now().Sub(sk.ActiveAt) < 2*k.every {
				foreign = append(foreign, sk)
			}
			continue
		}
		signer, err := jose.ParsePrivate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", sk.ID, err)
		}
		l, err := newLiveKey(SigningKey{sk.ID, alg, signer}, sk.ActiveAt, !k.p.seal.Current(sk.Sealed))
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", sk.ID, err)
		}
		mine = append(mine, l)
	}
	return foreign, mine, nil
}

// seal is the record of keys, all under the first secret.
func (k *rotatingKeys) seal(foreign []storedKey, keys []liveKey, retired []retiredKey) ([]byte, error) {
	s := storedKeys{Keys: foreign, Retired: retired}
	for i := range keys {
		der, err := jose.MarshalPrivate(keys[i].Signer)
		if err != nil {
			return nil, err
		}
		sealed, err := k.p.seal.Seal(keyPurpose, k.p.rand, der)
		if err != nil {
			return nil, err
		}
		s.Keys = append(s.Keys, storedKey{keys[i].ID, sealed, keys[i].activeAt})
		keys[i].old = false
	}
	return json.Marshal(s)
}

// RotateKeys makes a new signing key of every algorithm now, to be used as soon
// as every verifier can have seen it. It needs the built-in rotating keys.
func (p *Provider) RotateKeys(ctx context.Context) error {
	k, ok := p.keys.(*rotatingKeys)
	if !ok {
		return errors.New("handlers: the keys come from Config.Keys")
	}
	for _, alg := range p.cfg.SigningAlgs {
		if err := k.force(ctx, alg); err != nil {
			return err
		}
	}
	return nil
}

func (k *rotatingKeys) force(ctx context.Context, alg string) error {
	if _, err := k.set(ctx, alg); err != nil { // makes the first key
		return err
	}
	rec, err := k.p.store.Get(ctx, k.ref(alg))
	if err != nil {
		return err
	}
	var stored storedKeys
	if err := json.Unmarshal(rec.Data, &stored); err != nil {
		return err
	}
	foreign, mine, err := k.open(ctx, alg, stored)
	if err != nil {
		return err
	}
	added, err := generate(alg, k.p.now().Add(keyLead))
	if err != nil {
		return err
	}
	if rec.Data, err = k.seal(foreign, append(mine, added), stored.Retired); err != nil {
		return err
	}
	if err := k.p.store.Commit(ctx, storage.Update(*rec)); err != nil {
		return err
	}
	k.sets.Delete(alg)
	k.p.emit(ctx, nil, Event{Name: "key.rotated", Reason: alg})
	return nil
}
