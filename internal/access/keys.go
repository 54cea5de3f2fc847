package access

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// How an issuer's keys are kept. They are read every refreshKeys, so that one
// that is withdrawn stops to count; a token of an unknown key asks for them at
// once, but no more often than every leastFetch, lest forged tokens make us
// flood the issuer. While it cannot be reached, keys that it has published go on
// for staleKeys.
const (
	refreshKeys  = 5 * time.Minute
	leastFetch   = 2 * time.Second
	staleKeys    = 24 * time.Hour
	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20 // bytes of a document of the issuer
	leastRSA     = 2048    // bits
)

// keySet are the keys that an issuer has published. It is safe for concurrent
// use.
type keySet struct {
	issuer string
	client *http.Client
	now    func() time.Time

	fetching chan struct{} // held by whoever fetches

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time // keys are of then; zero: never
	tried   time.Time
	err     error // of the last try
}

func newKeySet(issuer string, client *http.Client, now func() time.Time) *keySet {
	return &keySet{issuer: issuer, client: client, now: now, fetching: make(chan struct{}, 1)}
}

// errUnknownKey is a token signed with a key that its issuer does not publish.
var errUnknownKey = errors.New("it is signed with a key that its issuer does not publish")

// find returns the keys that a token's header names. An error that is no
// errUnknownKey means that they cannot be had now.
func (k *keySet) find(ctx context.Context, id string, alg jose.SignatureAlgorithm) ([]crypto.PublicKey, error) {
	if keys, _, _ := k.fitting(id, alg); len(keys) > 0 {
		return keys, nil
	}
	err := k.fetch(ctx)
	keys, usable, lost := k.fitting(id, alg)
	switch {
	case len(keys) > 0:
		return keys, nil
	case err != nil:
		return nil, err
	case lost != nil:
		return nil, lost
	case !usable:
		return nil, errors.New("its keys were never read")
	}
	return nil, errUnknownKey
}

// fitting returns the keys that may have signed a token, whether there are any
// that still count, and what went wrong when they were last asked for. A token
// that names no key is of the only one that there is, or of none.
func (k *keySet) fitting(id string, alg jose.SignatureAlgorithm) (keys []crypto.PublicKey, usable bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fetched.IsZero() || k.now().Sub(k.fetched) > staleKeys {
		return nil, false, k.err
	}
	if id == "" && len(k.keys) != 1 {
		return nil, true, k.err
	}
	for _, key := range k.keys {
		if (id == "" || key.KeyID == id) && signs(key, alg) {
			keys = append(keys, key.Key)
		}
	}
	return keys, true, k.err
}

// signs reports whether a key is one for an algorithm: its own word counts, and
// so does its type, so that no key is used as one of another kind.
func signs(key jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(alg) {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, alg) &&
			public.N.BitLen() >= leastRSA
	case *ecdsa.PublicKey:
		return map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[public.Curve.Params().BitSize] == alg
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	default:
		return false
	}
}

// fetch reads the keys, unless that was just done; who comes while they are
// read waits for that.
func (k *keySet) fetch(ctx context.Context) error {
	begun := k.now()
	select {
	case k.fetching <- struct{}{}:
		defer func() { <-k.fetching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	k.mu.Lock()
	recent := !k.tried.IsZero() && begun.Sub(k.tried) < leastFetch
	err := k.err
	k.mu.Unlock()
	if recent {
		return err
	}
	// Not the caller's context: who gives up early must not fail the next one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	keys, err := k.read(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err = k.now(), err
	if err == nil {
		k.keys, k.fetched = keys, k.tried
	}
	return err
}

// read asks the issuer where its keys are, and for them.
func (k *keySet) read(ctx context.Context) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, errors.New(clip(err.Error()))
	}
	var at struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&at); err != nil {
		return nil, fmt.Errorf("its discovery document: %w", err)
	}
	if err := secureURL(at.Keys, secureURL(k.issuer, false) != nil); err != nil {
		return nil, fmt.Errorf("its jwks_uri %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Keys, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, errors.New(clip(err.Error()))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys: it answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("its keys: %w", err)
	}
	return keysOf(body)
}

// keysOf reads a JWK set. A key of a kind that we do not know, or that is for
// something else, does not spoil the others.
func keysOf(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("its keys are no JWK set: %s", clip(err.Error()))
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it publishes no key that a token can be checked with")
	}
	return keys, nil
}
