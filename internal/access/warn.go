package access

import (
	"fmt"
	"slices"
	"strings"
)

// Warnings say what is odd about a file that is valid: what nobody would write on
// purpose.
func (g *Gate) Warnings() []string { return g.current.Load().warnings() }

func (p *policy) warnings() (out []string) {
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, t := range p.tokens {
		if !t.expires.IsZero() && !p.now().Before(t.expires) {
			warn("the token %s has ended", t.name)
		}
		if p.grantless("token:" + t.name) {
			warn("the token %s is granted nothing", t.name)
		}
	}
	for _, c := range p.certificates {
		if p.grantless("cert:" + c.name) {
			warn("the certificate %s is granted nothing", c.name)
		}
	}
	for _, i := range p.issuers {
		if p.grantless("oidc:"+i.settings.Name) && p.grantless("group:"+i.settings.Name) {
			warn("nobody of the issuer %s is granted anything", i.settings.Name)
		}
	}
	if !p.anybody(Responder, Everything()) {
		warn("nobody may kill everything: want a responder for [\"*\"]")
	}
	if !p.anybody(Approver, Overview()) {
		warn("nobody may revive: want an approver")
	}
	second := slices.ContainsFunc(p.revives, func(r revive) bool { return r.approvals > 0 })
	if p.people["local"] == "" && second && grants(p.grants["local"], Approver) {
		warn("local is a person of its own, and may approve what the same person asks for with a token: say who it is in people")
	}
	return out
}

func grants(all []Grant, role Role) bool {
	return slices.ContainsFunc(all, func(g Grant) bool { return slices.Contains(g.Roles, role) })
}

// grantless reports whether neither a subject, nor a part of it, nor its person is
// granted anything.
func (p *policy) grantless(subject string) bool {
	for granted := range p.grants {
		if granted == subject || strings.HasPrefix(granted, subject+":") {
			return false
		}
	}
	for id, person := range p.people {
		if (id == subject || strings.HasPrefix(id, subject+":")) && p.grants[person] != nil {
			return false
		}
	}
	return true
}

// anybody reports whether somebody has a role for a target.
func (p *policy) anybody(role Role, t Target) bool {
	for _, grants := range p.grants {
		for _, g := range grants {
			if slices.Contains(g.Roles, role) && g.Scope.covers(t) {
				return true
			}
		}
	}
	return false
}
