package access

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/safestate/safestate/internal/strictyaml"
)

// file is the shape of an access file; docs/access.md describes it.
type file struct {
	Tokens       []tokenRow       `yaml:"tokens"`
	ClientCA     string           `yaml:"clientCA"`
	Certificates []certificateRow `yaml:"certificates"`
	OIDC         []issuerSettings `yaml:"oidc"`
	People       []personRow      `yaml:"people"`
	Grants       []grantRow       `yaml:"grants"`
	Revive       []reviveRow      `yaml:"revive"`
}

type tokenRow struct {
	Name    string    `yaml:"name"`
	SHA256  string    `yaml:"sha256"`
	Expires time.Time `yaml:"expires"`
}

type certificateRow struct {
	Name       string `yaml:"name"`
	URI        string `yaml:"uri"`
	DNS        string `yaml:"dns"`
	Email      string `yaml:"email"`
	CommonName string `yaml:"commonName"`
}

type personRow struct {
	Name string   `yaml:"name"`
	Is   []string `yaml:"is"`
}

type grantRow struct {
	To     []string  `yaml:"to"`
	Roles  []Role    `yaml:"roles"`
	Models []Pattern `yaml:"models"`
	Routes []Pattern `yaml:"routes"`
}

type reviveRow struct {
	Approvals int       `yaml:"approvals"`
	Models    []Pattern `yaml:"models"`
	Routes    []Pattern `yaml:"routes"`
}

// defaultSkew is how far an issuer's clock may be from ours; mostSkew is the
// most that a file may say.
const (
	defaultSkew = 30 * time.Second
	mostSkew    = 5 * time.Minute
)

var rowName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

// IsName reports whether a row may be called so.
func IsName(name string) bool { return rowName.MatchString(name) }

// reader makes a policy of a file. It stops at the first mistake.
type reader struct {
	path   string
	at     *strictyaml.File
	file   file
	policy *policy
	now    func() time.Time
	err    error
}

// parse makes a policy of a file's content; path says where other files are.
func parse(path string, data []byte, now func() time.Time) (*policy, error) {
	r := &reader{path: path, policy: &policy{grants: map[string][]Grant{}, people: map[string]string{}, now: now}, now: now}
	if r.at, r.err = strictyaml.Decode(path, data, &r.file); r.err != nil {
		return nil, r.err
	}
	for _, step := range []func(){r.tokens, r.certificates, r.issuers, r.people, r.grants, r.revives} {
		if step(); r.err != nil {
			return nil, r.err
		}
	}
	return r.policy, nil
}

// fail keeps the first mistake.
func (r *reader) fail(field, format string, args ...any) {
	if r.err == nil {
		r.err = r.at.Errorf(field, format, args...)
	}
}

// name checks a row's name, and that it is its own.
func (r *reader) name(field, name string, seen map[string]bool) {
	switch {
	case name == "":
		r.fail(field, "is missing")
	case !rowName.MatchString(name):
		r.fail(field, "is %q; want at most 64 letters, digits and any of . _ @ + -", clip(name))
	case seen[name]:
		r.fail(field, "is %q, which is there already; want each once", name)
	}
	seen[name] = true
}

func (r *reader) tokens() {
	seen, digests := map[string]bool{}, map[string]bool{}
	for i, row := range r.file.Tokens {
		at := index("tokens", i)
		r.name(at+".name", row.Name, seen)
		t := token{name: row.Name, expires: row.Expires}
		sum, err := hex.DecodeString(row.SHA256)
		switch {
		case row.SHA256 == "":
			r.fail(at+".sha256", "is missing; safestate access token NAME makes one")
		case err != nil || len(sum) != sha256.Size:
			r.fail(at+".sha256", "is no SHA-256 in hexadecimal; the token itself does not belong here: safestate access hash")
		case digests[string(sum)]:
			r.fail(at+".sha256", "is there already; want a token for each")
		}
		digests[string(sum)] = true
		copy(t.digest[:], sum)
		r.policy.tokens = append(r.policy.tokens, t)
	}
}

func (r *reader) certificates() {
	if r.file.ClientCA == "" {
		if len(r.file.Certificates) > 0 {
			r.fail("certificates", "need clientCA, the authorities that they are of")
		}
		return
	}
	r.policy.roots, _ = r.authorities("clientCA", r.file.ClientCA)
	seen := map[string]bool{}
	for i, row := range r.file.Certificates {
		at := index("certificates", i)
		r.name(at+".name", row.Name, seen)
		var made []certificate
		for _, one := range []struct{ where, pattern string }{
			{inURI, row.URI}, {inDNS, row.DNS}, {inEmail, row.Email}, {inCommon, row.CommonName},
		} {
			if one.pattern != "" {
				r.certificatePattern(at+"."+one.where, one.where, one.pattern)
				made = append(made, certificate{row.Name, one.where, matcher(one.where, one.pattern), strings.Contains(one.pattern, "*")})
			}
		}
		if len(made) != 1 {
			r.fail(at, "has %d of uri, dns, email and commonName; want one", len(made))
			return
		}
		r.policy.certificates = append(r.policy.certificates, made[0])
	}
}

// certificatePattern refuses what would be for everybody that the authorities
// know.
func (r *reader) certificatePattern(field, where, pattern string) {
	host := pattern
	if where == inURI {
		scheme, rest, ok := strings.Cut(pattern, "://")
		host, _, _ = strings.Cut(rest, "/")
		if !ok || scheme == "" || host == "" || strings.Contains(scheme+host, "*") {
			r.fail(field, "is %q; want such as spiffe://example.org/ns/ci/sa/*", clip(pattern))
		}
	}
	if strings.Trim(host, "*.@") == "" {
		r.fail(field, "is %q, which is everybody; name whom it is for", clip(pattern))
	}
	if strings.Contains(pattern, "**") || !printable(pattern) {
		r.fail(field, "is %q; want one * for one part", clip(pattern))
	}
}

// authorities reads certificates in PEM from a file beside the access file.
func (r *reader) authorities(field, name string) (*x509.CertPool, [sha256.Size]byte) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.path), name)
	}
	pem, err := strictyaml.Read(name)
	if err != nil {
		r.fail(field, "%v", err)
		return nil, [sha256.Size]byte{}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		r.fail(field, "%s has no certificate in PEM", name)
	}
	digest := sha256.Sum256(pem)
	r.policy.beside = append(r.policy.beside, beside{name, digest})
	return pool, digest
}

func (r *reader) issuers() {
	seen, urls := map[string]bool{}, map[string]bool{}
	for i, row := range r.file.OIDC {
		at := index("oidc", i)
		r.name(at+".name", row.Name, seen)
		if err := secureURL(row.Issuer, true); err != nil {
			r.fail(at+".issuer", "%v", err)
		}
		if urls[row.Issuer] {
			r.fail(at+".issuer", "is there already; want each once")
		}
		urls[row.Issuer] = true
		if row.Audience == "" {
			r.fail(at+".audience", "is missing; without it a token for any other service would do")
		}
		row.NameClaim = cmp.Or(row.NameClaim, "sub")
		row.ClockSkew = cmp.Or(row.ClockSkew, defaultSkew)
		if row.ClockSkew < 0 || row.ClockSkew > mostSkew {
			r.fail(at+".clockSkew", "is %s; want 0s to %s", row.ClockSkew, mostSkew)
		}
		if row.Algorithms == nil {
			row.Algorithms = []string{string(jose.RS256), string(jose.ES256)}
		}
		if len(row.Algorithms) == 0 {
			r.fail(at+".algorithms", "is empty; want such as [RS256]")
		}
		for j, alg := range row.Algorithms {
			if !slices.Contains(algorithms, jose.SignatureAlgorithm(alg)) {
				r.fail(index(at+".algorithms", j), "is %q; want one of %v", clip(alg), algorithms)
			}
		}
		var roots *x509.CertPool
		var digest [sha256.Size]byte
		if row.CA != "" {
			roots, digest = r.authorities(at+".ca", row.CA)
		}
		made := newIssuer(row, roots, r.now)
		made.ca = digest
		r.policy.issuers = append(r.policy.issuers, made)
	}
}

func (r *reader) people() {
	seen := map[string]bool{}
	for i, row := range r.file.People {
		at := index("people", i)
		r.name(at+".name", row.Name, seen)
		if len(row.Is) == 0 {
			r.fail(at+".is", "is missing; want the tokens, certificates and users of that person")
		}
		for j, id := range row.Is {
			field := index(at+".is", j)
			kind, _, _ := strings.Cut(id, ":")
			if !slices.Contains([]string{"token", "cert", "oidc", "local"}, kind) {
				r.fail(field, "is %q; want token:NAME, cert:NAME, oidc:ISSUER:NAME or local", clip(id))
			}
			r.subject(field, id)
			if name, one := strings.CutPrefix(id, "cert:"); one && r.many(name) {
				r.fail(field, "is %q, whose pattern is for many; want cert:NAME:VALUE, the one of them", clip(id))
			}
			if other := r.policy.people[id]; other != "" {
				r.fail(field, "is %q, who is %s already", clip(id), other)
			}
			r.policy.people[id] = "person:" + row.Name
		}
	}
}

// many reports whether a row of certificates is for more than one holder.
func (r *reader) many(name string) bool {
	return slices.ContainsFunc(r.policy.certificates, func(c certificate) bool { return c.name == name && c.many })
}

func (r *reader) grants() {
	for i, row := range r.file.Grants {
		at := index("grants", i)
		if len(row.To) == 0 {
			r.fail(at+".to", "is missing; want whom it is for")
		}
		if len(row.Roles) == 0 {
			r.fail(at+".roles", "is missing; want any of viewer, operator, responder, approver")
		}
		scope := r.scope(at, row.Models, row.Routes)
		if len(scope.Models)+len(scope.Routes) == 0 {
			r.fail(at+".models", `is missing; want patterns such as ["shop/*"], or ["*"] for everything`)
		}
		for j, subject := range row.To {
			field := index(at+".to", j)
			r.subject(field, subject)
			if subject == "anonymous" && slices.ContainsFunc(row.Roles, func(role Role) bool { return role != Viewer }) {
				r.fail(field, "is anonymous, which may be a viewer and nothing else")
			}
			r.policy.grants[subject] = append(r.policy.grants[subject], Grant{row.Roles, scope})
		}
	}
}

func (r *reader) scope(at string, models, routes []Pattern) Scope {
	for i, p := range models {
		if strings.Count(string(p), "/") > 1 {
			r.fail(index(at+".models", i), "is %q; want *, NAMESPACE/* or NAMESPACE/NAME", string(p))
		}
	}
	return Scope{models, routes}
}

// subject checks that somebody may be meant.
func (r *reader) subject(field, id string) {
	kind, rest, _ := strings.Cut(id, ":")
	known := false
	switch kind {
	case "local", "anonymous":
		known = rest == "" && id == kind
	case "token":
		known = slices.ContainsFunc(r.policy.tokens, func(t token) bool { return t.name == rest })
	case "cert":
		name, value, more := strings.Cut(rest, ":")
		known = slices.ContainsFunc(r.policy.certificates, func(c certificate) bool {
			return c.name == name && (!more || c.many && c.match.MatchString(value))
		})
	case "oidc", "group":
		of, name, _ := strings.Cut(rest, ":")
		known = name != "" && slices.ContainsFunc(r.policy.issuers, func(i *issuer) bool {
			return i.settings.Name == of && (kind == "oidc" || i.settings.GroupsClaim != "")
		})
	case "person":
		known = slices.ContainsFunc(r.file.People, func(p personRow) bool { return p.Name == rest })
	default:
		r.fail(field, "is %q; want local, anonymous, or token:, cert:, oidc:ISSUER:, group:ISSUER: or person: with a name", clip(id))
	}
	if !known {
		r.fail(field, "is %q, and there is nothing in the file by that name%s", clip(id), groupHint(kind))
	}
}

func groupHint(kind string) string {
	if kind == "group" {
		return " with a groupsClaim"
	}
	return ""
}

func (r *reader) revives() {
	for i, row := range r.file.Revive {
		at := index("revive", i)
		if row.Approvals < 0 || row.Approvals > 1 {
			r.fail(at+".approvals", "is %d; want 0, or 1 for a second person", row.Approvals)
		}
		scope := r.scope(at, row.Models, row.Routes)
		if len(scope.Models)+len(scope.Routes) == 0 {
			r.fail(at+".models", `is missing; want patterns such as ["payments/*"], or ["*"] for everything`)
		}
		r.policy.revives = append(r.policy.revives, revive{row.Approvals, scope})
	}
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
