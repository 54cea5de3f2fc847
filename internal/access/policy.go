package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"
)

// policy is an access file, checked and ready. It is not changed once made, its
// issuers' keys apart.
type policy struct {
	tokens       []token
	roots        *x509.CertPool // nil: no certificates are taken
	certificates []certificate
	issuers      []*issuer
	people       map[string]string  // by ID: "person:alice"
	grants       map[string][]Grant // by subject
	revives      []revive
	beside       []beside // the other files that it is made of
	now          func() time.Time
}

// beside is another file, as it was read.
type beside struct {
	path   string
	digest [sha256.Size]byte
}

// revive is how many further persons a revive needs.
type revive struct {
	approvals int
	scope     Scope
}

// approvals returns the most that any row asks for. What lies in a target counts
// as well: a revive of everything revives what the strictest row is for, and one
// of a route all of its rules.
func (p *policy) approvals(t Target) int {
	most := 0
	for _, r := range p.revives {
		if t.Kind == KindEverything || r.scope.covers(t) || t.Kind == KindRoute && inside(r.scope.Routes, t.Name) {
			most = max(most, r.approvals)
		}
	}
	return most
}

// inside reports whether a pattern is for a part of a route.
func inside(patterns []Pattern, route string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool {
		return len(p) > len(route) && string(p[:len(route)+1]) == route+"/"
	})
}

// authenticate says who asks, and from where.
func (p *policy) authenticate(ctx context.Context, c Credentials) (Principal, error) {
	who, err := p.identify(ctx, c)
	if err != nil {
		return Principal{}, err
	}
	who.Address = c.Peer
	return who, nil
}

// identify says who asks. What is brought along decides: a token that is not
// accepted does not make its bearer anonymous.
func (p *policy) identify(ctx context.Context, c Credentials) (Principal, error) {
	presented, err := bearer(c.Authorization)
	switch {
	case err != nil:
		return Principal{}, err
	case presented != "":
		return p.byToken(ctx, presented)
	case len(c.Certificates) > 0 && p.roots != nil:
		return p.byCertificate(c.Certificates)
	case c.Local && p.here() != nil:
		who, err := local(c, p.here())
		if err == nil {
			who.Person = cmp.Or(p.people["local"], who.Person)
		}
		return who, err
	case p.grants["anonymous"] != nil:
		who := anonymous(c, p.grants["anonymous"])
		who.Lacking = "bring a token or a certificate of the access file"
		return who, nil
	}
	refused := unauthenticated("nobody knows who asks")
	refused.Hint = "bring a token (--token-file) or a client certificate (--cert, --key) that the access file knows"
	return Principal{}, refused
}

// here is what whoever is on this machine is granted, and the person who that is.
func (p *policy) here() []Grant {
	return slices.Concat(p.grants["local"], p.grants[p.people["local"]])
}

func (p *policy) byToken(ctx context.Context, presented string) (Principal, error) {
	if t, ok := tokenOf(p.tokens, presented); ok {
		if !t.expires.IsZero() && !p.now().Before(t.expires) {
			return Principal{}, unauthenticated("the token %s ended at %s", t.name, t.expires.UTC().Format(time.RFC3339))
		}
		return p.principal("token:"+t.name, "token:"+t.name), nil
	}
	of := issuerOf(presented)
	for _, i := range p.issuers {
		if of == "" || i.settings.Issuer != of {
			continue
		}
		who, err := i.check(ctx, presented)
		if err != nil {
			return Principal{}, err
		}
		subjects := []string{"oidc:" + i.settings.Name + ":" + who.name}
		for _, group := range who.groups {
			subjects = append(subjects, "group:"+i.settings.Name+":"+group)
		}
		return p.principal(subjects[0], subjects...), nil
	}
	if of != "" && len(p.issuers) > 0 {
		return Principal{}, unauthenticated("the token is of none of the issuers of the access file")
	}
	return Principal{}, unauthenticated("the token is not known")
}

func (p *policy) byCertificate(chain []*x509.Certificate) (Principal, error) {
	if err := verified(chain, p.roots, p.now()); err != nil {
		return Principal{}, unauthenticated("the client certificate is not accepted: %s", clip(errText(err)))
	}
	for _, row := range p.certificates {
		name := row.named(chain[0])
		if name == "" {
			continue
		}
		id := "cert:" + row.name
		if !row.many {
			return p.principal(id, id), nil
		}
		return p.principal(id+":"+name, id, id+":"+name), nil
	}
	return Principal{}, unauthenticated("the client certificate is of nobody that the access file names")
}

// errText leaves out what a certificate error repeats of the certificate.
func errText(err error) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return "it is of an unknown authority"
	}
	return err.Error()
}

// principal puts together what all subjects that somebody is are granted.
func (p *policy) principal(id string, subjects ...string) Principal {
	kind, _, _ := strings.Cut(id, ":")
	if kind == "cert" {
		kind = "certificate"
	}
	out := Principal{ID: id, Name: id, Person: id, How: kind}
	for _, subject := range subjects {
		if person := p.people[subject]; person != "" {
			out.Person = person
		}
	}
	if out.Person != id {
		subjects = append(subjects, out.Person)
	}
	for _, subject := range subjects {
		out.Grants = append(out.Grants, p.grants[subject]...)
	}
	return out
}
