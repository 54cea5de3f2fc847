package access

import (
	"slices"
)

// Principal is who asks, with all that it may do. It is not changed once made.
type Principal struct {
	// ID says who it is and who vouches: "token:alice", "cert:ci",
	// "oidc:corp:alice@example.org", "local", "anonymous".
	ID string
	// Name is the ID as history records it, with what else is known.
	Name string
	// Person is who stands behind it: principals of one person have the same.
	Person string
	// How it was proven: token, certificate, oidc, local, or HowNone.
	How string
	// Address that the request came from, without a port; "unix" of a socket.
	Address string
	Grants  []Grant
	// Lacking says how to get a role that is missing; empty: nothing is known.
	Lacking string
}

// HowNone is how nothing was proven: of who is anonymous.
const HowNone = "none"

// Grant is roles within a scope.
type Grant struct {
	Roles []Role
	Scope Scope
}

// Has reports whether a principal has a role, in whatever scope.
func (p Principal) Has(role Role) bool {
	return slices.ContainsFunc(p.Grants, func(g Grant) bool { return slices.Contains(g.Roles, role) })
}

// Who writes a name for people, where it may be one that nobody vouches for.
func (p Principal) Who() string {
	if p.Name != "" {
		return p.Name
	}
	return "nobody"
}

// Authorize says whether a principal may do something: nil, or a [Refusal] of
// kind Forbidden. It depends on nothing but its arguments.
func Authorize(p Principal, a Action, t Target) error {
	r, known := rules[a]
	switch {
	case !known:
		return forbidden("there is no action %q", clip(string(a)))
	case !slices.Contains(r.kinds, t.Kind) || !t.well():
		return forbidden("%s cannot be done to %q", a, clip(t.String()))
	case p.ID == "":
		return forbidden("nobody asks")
	}
	held := false
	for _, g := range p.Grants {
		if !slices.ContainsFunc(r.roles, func(role Role) bool { return slices.Contains(g.Roles, role) }) {
			continue
		}
		if g.Scope.covers(t) {
			return nil
		}
		held = true
	}
	refused := forbidden("%s has no role %s, which %s needs", p.Who(), names(r.roles), a)
	if held {
		refused = forbidden("%s has the role %s, but not for %s", p.Who(), names(r.roles), t)
	}
	refused.Hint = p.Lacking
	if refused.Hint == "" {
		refused.Hint = "ask whoever keeps the access file"
	}
	return refused
}

// MayAnywhere reports whether there is anything that a principal may do an action
// to: what it is done to may not have been read yet.
func MayAnywhere(p Principal, a Action) bool {
	return p.ID != "" && slices.ContainsFunc(p.Grants, func(g Grant) bool {
		return len(g.Scope.Models)+len(g.Scope.Routes) > 0 &&
			slices.ContainsFunc(rules[a].roles, func(role Role) bool { return slices.Contains(g.Roles, role) })
	})
}
