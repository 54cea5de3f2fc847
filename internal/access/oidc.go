package access

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// Bounds of what is read from a token's claims.
const (
	maxSubject = 200 // bytes of a name
	maxGroups  = 1000
)

// algorithms that may be pinned. None of them has a secret that both sides know.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// issuerSettings are an issuer's row of the file.
type issuerSettings struct {
	Name        string        `yaml:"name"`
	Issuer      string        `yaml:"issuer"`
	Audience    string        `yaml:"audience"`
	NameClaim   string        `yaml:"nameClaim"`
	GroupsClaim string        `yaml:"groupsClaim"`
	Algorithms  []string      `yaml:"algorithms"`
	ClockSkew   time.Duration `yaml:"clockSkew"`
	CA          string        `yaml:"ca"`
	// UnverifiedEmails takes addresses of which the issuer does not say whether it has
	// verified them.
	UnverifiedEmails bool `yaml:"unverifiedEmails"`
}

// issuer checks the tokens of one OpenID Connect provider. It is safe for
// concurrent use.
type issuer struct {
	settings issuerSettings
	ca       [sha256.Size]byte // of its file; zero: the system's
	algs     []jose.SignatureAlgorithm
	keys     *keySet
	now      func() time.Time
}

// newIssuer makes one; roots of nil are the system's.
func newIssuer(s issuerSettings, roots *x509.CertPool, now func() time.Time) *issuer {
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     (&net.Dialer{Timeout: fetchTimeout}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: fetchTimeout, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
	}
	client := &http.Client{
		Transport: bounded{transport}, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	i := &issuer{settings: s, now: now, keys: newKeySet(s.Issuer, client, now)}
	for _, alg := range s.Algorithms {
		i.algs = append(i.algs, jose.SignatureAlgorithm(alg))
	}
	return i
}

// bounded keeps a document of an issuer from filling the memory.
type bounded struct{ next *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxKeySet)
	}
	return resp, err
}

// CloseIdleConnections lets the client close those of the transport.
func (b bounded) CloseIdleConnections() { b.next.CloseIdleConnections() }

// secureURL checks the address of an issuer or of its keys: https, or plain text
// to this machine where that is allowed.
func secureURL(text string, plain bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("is %q; want https://HOST/PATH", clip(text))
	case u.Scheme == "https", u.Scheme == "http" && plain && (loopback(u.Hostname()) || u.Hostname() == "localhost"):
		return nil
	default:
		return fmt.Errorf("is %q; want https (http is for this machine alone)", clip(text))
	}
}

// issuerOf reads who a token says it is of, which nothing has proven yet; empty:
// it is no JWT.
func issuerOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(body, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// same reports whether another is the same but for its keys.
func (i *issuer) same(other *issuer) bool {
	return i.ca == other.ca && reflect.DeepEqual(i.settings, other.settings)
}

// identity is what a checked token says.
type identity struct {
	name   string
	groups []string
}

// check verifies a token: its algorithm is one of those that are pinned, its
// signature is of a published key, and it is of this issuer, for us, now.
func (i *issuer) check(ctx context.Context, token string) (identity, error) {
	jws, err := jose.ParseSigned(token, i.algs)
	if err != nil || len(jws.Signatures) != 1 {
		return identity{}, i.refuse("it is no JWT signed by one of %s", strings.Join(i.settings.Algorithms, ", "))
	}
	head := jws.Signatures[0].Header
	keys, err := i.keys.find(ctx, head.KeyID, jose.SignatureAlgorithm(head.Algorithm))
	switch {
	case errors.Is(err, errUnknownKey):
		return identity{}, i.refuse("%v", err)
	case err != nil:
		refused := unavailable("tokens of %s cannot be checked now: %s", i.settings.Name, clip(err.Error()))
		refused.Hint = "try again, or use a token or a certificate of the access file"
		return identity{}, refused
	}
	verifier := oidc.NewVerifier(i.settings.Issuer, &oidc.StaticKeySet{PublicKeys: keys}, &oidc.Config{
		ClientID: i.settings.Audience, SupportedSigningAlgs: i.settings.Algorithms,
		SkipExpiryCheck: true, // times are below, all with the same skew
	})
	checked, err := verifier.Verify(ctx, token)
	if err != nil {
		return identity{}, i.refuse("%s", clip(strings.TrimPrefix(err.Error(), "oidc: ")))
	}
	var claims map[string]any
	if err := checked.Claims(&claims); err != nil {
		return identity{}, i.refuse("its claims are no JSON object")
	}
	if err := i.timely(claims); err != nil {
		return identity{}, err
	}
	return i.identify(claims)
}

func (i *issuer) refuse(format string, args ...any) *Refusal {
	return unauthenticated("the token of %s is not accepted: %s", i.settings.Name, fmt.Sprintf(format, args...))
}

// timely checks a token's times (RFC 7519, section 4.1). It has to have an end.
func (i *issuer) timely(claims map[string]any) error {
	now, skew := float64(i.now().Unix()), i.settings.ClockSkew.Seconds()
	exp, ok := claims["exp"].(float64)
	if !ok {
		return i.refuse("it has no end (exp)")
	}
	if !(now < exp+skew) {
		return i.refuse("it ended %s ago", time.Duration(min(now-exp, 1e9))*time.Second)
	}
	for _, claim := range []string{"nbf", "iat"} {
		value, there := claims[claim]
		at, isNumber := value.(float64)
		switch {
		case !there:
		case !isNumber:
			return i.refuse("its %s is no time", claim)
		case !(at <= now+skew):
			return i.refuse("it begins later (%s): is a clock wrong?", claim)
		}
	}
	return nil
}

// identify reads the name and the groups.
func (i *issuer) identify(claims map[string]any) (identity, error) {
	name, _ := claims[i.settings.NameClaim].(string)
	if name == "" || len(name) > maxSubject || !printable(name) {
		return identity{}, i.refuse("its claim %s is no name", i.settings.NameClaim)
	}
	if i.settings.NameClaim == "email" && !i.verified(claims["email_verified"]) {
		return identity{}, i.refuse("its issuer does not say that it has verified the email (email_verified)")
	}
	id := identity{name: name}
	if i.settings.GroupsClaim == "" {
		return id, nil
	}
	switch groups := claims[i.settings.GroupsClaim].(type) {
	case nil:
	case string:
		id.groups = []string{groups}
	case []any:
		if len(groups) > maxGroups {
			return identity{}, i.refuse("it has over %d groups", maxGroups)
		}
		for _, group := range groups {
			text, ok := group.(string)
			if !ok {
				return identity{}, i.refuse("its claim %s is no list of names", i.settings.GroupsClaim)
			}
			id.groups = append(id.groups, text)
		}
	default:
		return identity{}, i.refuse("its claim %s is no list of names", i.settings.GroupsClaim)
	}
	return id, nil
}

// verified reports whether an address may be somebody's name: else people could name
// themselves. Some issuers write the word (OpenID Connect Core, section 5.1, has a
// truth value).
func (i *issuer) verified(claim any) bool {
	return claim == true || claim == "true" || claim == nil && i.settings.UnverifiedEmails
}

// printable reports whether a terminal shows the text as it is.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
