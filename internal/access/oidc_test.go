package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/safestate/safestate/internal/certtest"
)

// provider is an OpenID Connect provider on a port of its own.
type provider struct {
	server *httptest.Server
	rsa    *rsa.PrivateKey
	mu     sync.Mutex
	keys   []jose.JSONWebKey // published
	moved  string            // another address of them; empty: none
	down   int               // a status to answer with; 0: it is up
	reads  atomic.Int64      // of the keys
	says   map[string]any    // in place of the discovery document's fields
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{rsa: newRSA(t, 2048)}
	p.keys = []jose.JSONWebKey{{Key: p.rsa.Public(), KeyID: "one", Algorithm: "RS256", Use: "sig"}}
	p.server = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	return p
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var body any
	switch {
	case p.down != 0:
		w.WriteHeader(p.down)
		return
	case r.URL.Path == "/.well-known/openid-configuration":
		doc := map[string]any{"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "none", "HS256"}}
		for k, v := range p.says {
			doc[k] = v
		}
		body = doc
	case r.URL.Path == "/keys" && p.moved != "":
		http.Redirect(w, r, p.moved, http.StatusFound)
		return
	case r.URL.Path == "/keys" || r.URL.Path == "/moved":
		p.reads.Add(1)
		var raw []any
		for _, k := range p.keys {
			raw = append(raw, k)
		}
		// Keys that nobody here knows do not spoil the others.
		body = map[string]any{"keys": append(raw, map[string]string{"kty": "LATTICE", "kid": "later"})}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// claims of a good token, changed by what is given; nil takes one out.
func (p *provider) claims(now time.Time, change map[string]any) map[string]any {
	c := map[string]any{
		"iss": p.server.URL, "aud": "safestate", "sub": "1234", "email": "ann@example.org", "email_verified": true,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "groups": []string{"sre", "dev"},
	}
	for k, v := range change {
		c[k] = v
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

// sign makes a token; id is the key's, empty: the header has none.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, id string, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// clock is a time that only the test moves.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Now().UnixNano())
	return c
}
func (c *clock) now() time.Time       { return time.Unix(0, c.nanos.Load()) }
func (c *clock) pass(d time.Duration) { c.nanos.Add(int64(d)) }

const oidcFile = `tokens:
- {name: break-glass, sha256: %s}
oidc:
- name: corp
  issuer: %s
  audience: safestate
  nameClaim: email
  groupsClaim: groups
  algorithms: [RS256, ES256, EdDSA]
  clockSkew: 30s
  ca: issuer.pem
grants:
- {to: ["oidc:corp:ann@example.org"], roles: [viewer], models: ["*"]}
- {to: ["group:corp:sre", "token:break-glass"], roles: [responder], models: ["*"]}
`

// gateOf opens an access file that trusts a provider.
func gateOf(t *testing.T, p *provider, c *clock) *Gate {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "issuer.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})))
	return open(t, dir, fmt.Sprintf(oidcFile, digestOf(t, aliceToken), p.server.URL), Options{Now: c.now})
}

// refused returns who a bearer is, and why it is nobody.
func refused(t *testing.T, g *Gate, token string) (Principal, *Refusal) {
	t.Helper()
	r := httptest.NewRequest("POST", "/v1/kill", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Authorization", "Bearer "+token)
	p, err := g.Authenticate(r)
	var why *Refusal
	if err != nil && !errors.As(err, &why) {
		t.Fatalf("%v is no refusal", err)
	}
	return p, why
}

func TestTokensOfAnIssuer(t *testing.T) {
	p, c := newProvider(t), newClock()
	g := gateOf(t, p, c)
	now := c.now()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, foreign := newRSA(t, 1024), newRSA(t, 2048)
	p.set(func() {
		p.keys = append(p.keys,
			jose.JSONWebKey{Key: ec.Public(), KeyID: "two"}, jose.JSONWebKey{Key: edPublic, KeyID: "three"},
			jose.JSONWebKey{Key: weak.Public(), KeyID: "weak"}, jose.JSONWebKey{Key: foreign.Public(), KeyID: "enc", Use: "enc"})
	})
	der, err := x509.MarshalPKIXPublicKey(p.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := sign(t, jose.RS256, p.rsa, "one", p.claims(now, nil))
	parts := strings.Split(good, ".")
	with := func(change map[string]any) string { return sign(t, jose.RS256, p.rsa, "one", p.claims(now, change)) }
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"one"}`))
	const fine = ""
	for name, token := range map[string]struct{ token, wrong string }{
		"good":                      {good, fine},
		"ES256":                     {sign(t, jose.ES256, ec, "two", p.claims(now, nil)), fine},
		"EdDSA":                     {sign(t, jose.EdDSA, ed, "three", p.claims(now, nil)), fine},
		"two audiences":             {with(map[string]any{"aud": []string{"other", "safestate"}}), fine},
		"within the skew":           {with(map[string]any{"exp": now.Add(-29 * time.Second).Unix(), "iat": now.Add(29 * time.Second).Unix(), "nbf": now.Add(29 * time.Second).Unix()}), fine},
		"expired":                   {with(map[string]any{"exp": now.Add(-31 * time.Second).Unix()}), "it ended 31s ago"},
		"expired long ago":          {with(map[string]any{"exp": -1e300}), "it ended"},
		"no end":                    {with(map[string]any{"exp": nil}), "no end"},
		"an end that is a text":     {with(map[string]any{"exp": "2099"}), "not accepted"},
		"not yet":                   {with(map[string]any{"nbf": now.Add(time.Minute).Unix()}), "begins later (nbf)"},
		"issued later":              {with(map[string]any{"iat": now.Add(time.Minute).Unix()}), "begins later (iat)"},
		"another audience":          {with(map[string]any{"aud": "other"}), `expected audience "safestate"`},
		"no audience":               {with(map[string]any{"aud": nil}), "expected audience"},
		"an audience of a prefix":   {with(map[string]any{"aud": "safestate2"}), "expected audience"},
		"another issuer":            {with(map[string]any{"iss": "https://evil.example"}), "none of the issuers"},
		"an issuer with a slash":    {with(map[string]any{"iss": p.server.URL + "/"}), "none of the issuers"},
		"no issuer":                 {with(map[string]any{"iss": nil}), "not known"},
		"alg none":                  {none + "." + parts[1] + ".", "no JWT signed by one of RS256, ES256, EdDSA"},
		"alg none with a signature": {none + "." + parts[1] + "." + parts[2], "no JWT signed by one of"},
		"HS256 with the public key": {sign(t, jose.HS256, publicPEM, "one", p.claims(now, nil)), "no JWT signed by one of"},
		"HS256 with its DER":        {sign(t, jose.HS256, der, "one", p.claims(now, nil)), "no JWT signed by one of"},
		"PS256, not pinned":         {sign(t, jose.PS256, p.rsa, "one", p.claims(now, nil)), "no JWT signed by one of"},
		"no kid among several":      {sign(t, jose.RS256, p.rsa, "", p.claims(now, nil)), "does not publish"},
		"another kid":               {sign(t, jose.RS256, p.rsa, "nine", p.claims(now, nil)), "does not publish"},
		"the kid of another key":    {sign(t, jose.RS256, p.rsa, "two", p.claims(now, nil)), "does not publish"},
		"a foreign key":             {sign(t, jose.RS256, foreign, "one", p.claims(now, nil)), "failed to verify signature"},
		"a key for encryption":      {sign(t, jose.RS256, foreign, "enc", p.claims(now, nil)), "does not publish"},
		"a key of 1024 bits":        {sign(t, jose.RS256, weak, "weak", p.claims(now, nil)), "does not publish"},
		"changed claims":            {parts[0] + "." + strings.Split(with(map[string]any{"email": "eve@example.org"}), ".")[1] + "." + parts[2], "failed to verify signature"},
		"no signature":              {parts[0] + "." + parts[1] + ".", "not accepted"},
		"an email not verified":     {with(map[string]any{"email_verified": false}), "has verified the email"},
		"an email that may be":      {with(map[string]any{"email_verified": nil}), "has verified the email"},
		"an email, by a word":       {with(map[string]any{"email_verified": "true"}), fine},
		"no name":                   {with(map[string]any{"email": nil}), "its claim email is no name"},
		"a name for terminals":      {with(map[string]any{"email": "ann\x1b[2J"}), "is no name"},
		"a long name":               {with(map[string]any{"email": strings.Repeat("a", 201)}), "is no name"},
		"groups of numbers":         {with(map[string]any{"groups": []int{1}}), "no list of names"},
		"groups of an object":       {with(map[string]any{"groups": map[string]string{}}), "no list of names"},
		"claims that are a list":    {sign(t, jose.RS256, p.rsa, "one", []int{1}), "not known"},
		"claims from elsewhere":     {with(map[string]any{"_claim_names": map[string]string{"groups": "src"}}), "source does not exist"},
	} {
		who, why := refused(t, g, token.token)
		switch {
		case token.wrong == fine && (why != nil || who.ID != "oidc:corp:ann@example.org"):
			t.Errorf("%s: %+v, %v", name, who, why)
		case token.wrong != fine && (why == nil || why.Class != Unauthenticated || !strings.Contains(why.Error(), token.wrong)):
			t.Errorf("%s: %+v, %v; want %s", name, who, why, token.wrong)
		}
	}
}

// An issuer that says nothing of addresses is trusted with them where the file says so,
// and one that says no never.
func TestUnverifiedEmails(t *testing.T) {
	i := &issuer{settings: issuerSettings{NameClaim: "email", UnverifiedEmails: true}}
	for claim, want := range map[any]bool{nil: true, true: true, "true": true, false: false, "false": false, "": false} {
		if got := i.verified(claim); got != want {
			t.Errorf("%v: %v", claim, got)
		}
	}
}

func TestGroupsGrantWhatTheNameDoesNot(t *testing.T) {
	p, c := newProvider(t), newClock()
	g := gateOf(t, p, c)
	for name, want := range map[string]struct {
		groups any
		kills  bool
	}{
		"a list": {[]string{"dev", "sre"}, true}, "one": {"sre", true}, "another": {[]string{"dev"}, false}, "none": {nil, false},
		"with a colon": {[]string{"x:sre", "corp:sre"}, false}, "another case": {"SRE", false},
	} {
		who, why := refused(t, g, sign(t, jose.RS256, p.rsa, "one", p.claims(c.now(), map[string]any{"groups": want.groups})))
		if why != nil || (Authorize(who, Kill, Everything()) == nil) != want.kills || Authorize(who, Read, Overview()) != nil {
			t.Errorf("%s: %+v, %v", name, who, why)
		}
	}
}

func TestKeysAreRotated(t *testing.T) {
	p, c := newProvider(t), newClock()
	g := gateOf(t, p, c)
	token := func(key crypto.Signer, id string) string { return sign(t, jose.RS256, key, id, p.claims(c.now(), nil)) }
	next := newRSA(t, 2048)
	old, new := token(p.rsa, "one"), token(next, "new")
	if _, why := refused(t, g, old); why != nil {
		t.Fatal(why)
	}
	p.set(func() { p.keys = append(p.keys, jose.JSONWebKey{Key: next.Public(), KeyID: "new"}) })
	if _, why := refused(t, g, new); why == nil || why.Class != Unauthenticated {
		t.Errorf("within the shortest time between two reads: %v", why)
	}
	c.pass(leastFetch)
	for name, token := range map[string]string{"new": new, "old": old} {
		if _, why := refused(t, g, token); why != nil {
			t.Errorf("%s: %v", name, why)
		}
	}
	// The old one is withdrawn: it counts until the keys are read again.
	p.set(func() { p.keys = p.keys[1:] })
	c.pass(refreshKeys)
	if err := g.current.Load().issuers[0].keys.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.pass(leastFetch)
	if _, why := refused(t, g, old); why == nil || !strings.Contains(why.Error(), "does not publish") {
		t.Errorf("the withdrawn key: %v", why)
	}
	// One key alone needs no name.
	if _, why := refused(t, g, token(next, "")); why != nil {
		t.Errorf("without a kid: %v", why)
	}
}

func TestForgedTokensDoNotFloodTheIssuer(t *testing.T) {
	p, c := newProvider(t), newClock()
	g := gateOf(t, p, c)
	forged := sign(t, jose.RS256, newRSA(t, 2048), "nine", p.claims(c.now(), nil))
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range 50 {
				if _, why := refused(t, g, forged); why == nil || why.Class != Unauthenticated {
					t.Errorf("%v", why)
				}
			}
		})
	}
	asking.Wait()
	if n := p.reads.Load(); n != 1 {
		t.Errorf("400 forged tokens: the keys were read %d times", n)
	}
}

func TestTheIssuerIsDown(t *testing.T) {
	p, c := newProvider(t), newClock()
	p.set(func() { p.down = http.StatusBadGateway })
	g := gateOf(t, p, c) // opens all the same
	good := sign(t, jose.RS256, p.rsa, "one", p.claims(c.now(), map[string]any{"exp": c.now().Add(48 * time.Hour).Unix()}))
	if _, why := refused(t, g, good); why == nil || why.Class != Unavailable || !strings.Contains(why.Error(), "tokens of corp cannot be checked now") {
		t.Errorf("down at the start: %v", why)
	}
	if who, why := refused(t, g, aliceToken); why != nil || Authorize(who, Kill, Everything()) != nil {
		t.Errorf("a token of the file needs the issuer: %v", why)
	}
	p.set(func() { p.down = 0 })
	if _, why := refused(t, g, good); why == nil || why.Class != Unavailable {
		t.Errorf("asked again at once: %v", why)
	}
	c.pass(leastFetch)
	if _, why := refused(t, g, good); why != nil {
		t.Errorf("up again: %v", why)
	}

	p.set(func() { p.down = http.StatusInternalServerError })
	c.pass(staleKeys - leastFetch)
	if _, why := refused(t, g, good); why != nil {
		t.Errorf("down later, with keys that are known: %v", why)
	}
	other := sign(t, jose.RS256, p.rsa, "nine", p.claims(c.now(), nil))
	if _, why := refused(t, g, other); why == nil || why.Class != Unavailable {
		t.Errorf("down later, with a key that is not: %v", why)
	}
	expired := sign(t, jose.RS256, p.rsa, "one", p.claims(c.now(), map[string]any{"exp": c.now().Add(-time.Hour).Unix()}))
	if _, why := refused(t, g, expired); why == nil || why.Class != Unauthenticated {
		t.Errorf("down later, expired: %v", why)
	}
	c.pass(leastFetch + time.Second)
	if _, why := refused(t, g, good); why == nil || why.Class != Unavailable {
		t.Errorf("down for longer than keys go on: %v", why)
	}
}

func TestAnIssuerThatAnswersNonsense(t *testing.T) {
	for name, c := range map[string]struct {
		says map[string]any
		keys []jose.JSONWebKey
		want string
	}{
		"another issuer":    {map[string]any{"issuer": "https://evil.example"}, nil, "issuer"},
		"keys in the clear": {map[string]any{"jwks_uri": "http://127.0.0.1:1/keys"}, nil, "jwks_uri"},
		"keys nowhere":      {map[string]any{"jwks_uri": ""}, nil, "jwks_uri"},
		"keys that are not": {map[string]any{"jwks_uri": "PROVIDER/none"}, nil, "404"},
		"no keys":           {nil, []jose.JSONWebKey{}, "publishes no key"},
		"only secrets":      {nil, []jose.JSONWebKey{{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "one"}}, "publishes no key"},
		"too much":          {map[string]any{"padding": strings.Repeat("x", maxKeySet)}, nil, "cannot be checked now"},
	} {
		p, now := newProvider(t), newClock()
		p.set(func() {
			p.says = c.says
			if p.says["jwks_uri"] == "PROVIDER/none" {
				p.says["jwks_uri"] = p.server.URL + "/none"
			}
			if c.keys != nil {
				p.keys = c.keys
			}
		})
		g := gateOf(t, p, now)
		_, why := refused(t, g, sign(t, jose.RS256, p.rsa, "one", p.claims(now.now(), nil)))
		if why == nil || why.Class != Unavailable || !strings.Contains(why.Error(), c.want) {
			t.Errorf("%s: %v", name, why)
		}
	}
}

func TestKeysAreReadWhereTheIssuerSays(t *testing.T) {
	p, c := newProvider(t), newClock()
	p.set(func() { p.moved = "/moved" })
	g := gateOf(t, p, c)
	_, why := refused(t, g, sign(t, jose.RS256, p.rsa, "one", p.claims(c.now(), nil)))
	if why == nil || why.Class != Unavailable || !strings.Contains(why.Error(), "302") || p.reads.Load() != 0 {
		t.Errorf("a redirect: %v", why)
	}
}

// A file that changes elsewhere keeps the keys: an issuer that is down then does
// not lock anybody out.
func TestKeysOutliveAReload(t *testing.T) {
	p, c := newProvider(t), newClock()
	g := gateOf(t, p, c)
	token := sign(t, jose.RS256, p.rsa, "one", p.claims(c.now(), nil))
	if _, why := refused(t, g, token); why != nil {
		t.Fatal(why)
	}
	p.set(func() { p.down = http.StatusBadGateway })
	write(t, g.path, fmt.Sprintf(oidcFile, digestOf(t, bobToken), p.server.URL))
	g.Reload()
	g.Reload()
	if _, why := refused(t, g, token); why != nil {
		t.Errorf("after a reload: %v", why)
	}
	if _, why := refused(t, g, aliceToken); why == nil {
		t.Error("the file was not read")
	}
	write(t, g.path, strings.Replace(fmt.Sprintf(oidcFile, digestOf(t, bobToken), p.server.URL), "audience: safestate", "audience: other", 1))
	g.Reload()
	g.Reload()
	if _, why := refused(t, g, token); why == nil {
		t.Error("the old audience still counts")
	}
}

func TestAnIssuerOfAnotherAuthority(t *testing.T) {
	p, c := newProvider(t), newClock()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "issuer.pem"), string(certtest.New(t, "authority").PEM))
	g := open(t, dir, fmt.Sprintf(oidcFile, digestOf(t, aliceToken), p.server.URL), Options{Now: c.now})
	_, why := refused(t, g, sign(t, jose.RS256, p.rsa, "one", p.claims(c.now(), nil)))
	if why == nil || why.Class != Unavailable || p.reads.Load() != 0 {
		t.Errorf("%v", why)
	}
}
