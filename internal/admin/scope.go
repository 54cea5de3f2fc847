package admin

import (
	"path"
	"slices"
	"strings"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// mayRead reports whether a principal may read of a target.
func mayRead(p access.Principal, t access.Target) bool {
	return access.Authorize(p, access.Read, t) == nil
}

// within leaves out the models and policies that a principal may not read. The
// control plane itself, its files' problems and the proxies are everybody's.
func (s Status) within(p access.Principal) Status {
	if mayRead(p, access.Everything()) {
		return s
	}
	s.Models = only(s.Models, func(m Model) bool { return mayRead(p, access.Model(m.Model)) })
	s.Policies = only(s.Policies, func(x Policy) bool { return mayRead(p, access.OfPolicy(x.Policy)) })
	s.Kills = only(s.Kills, func(k KillState) bool {
		t, err := kill.ParseKey(k.Target)
		return err == nil && (t.Scope == kill.All || mayRead(p, AccessTarget(t)))
	})
	s.Troubles = only(s.Troubles, func(t Trouble) bool { return concerns(p, t.About) })
	// Envoy's words name routes.
	s.Proxies.Proxies = slices.Clone(s.Proxies.Proxies)
	for i := range s.Proxies.Proxies {
		s.Proxies.Proxies[i].Message = ""
	}
	return s
}

// concerns reports whether a principal may read of what a trouble is about: a model or
// a policy, a rule, or something of the control plane itself.
func concerns(p access.Principal, about string) bool {
	if isObject(about) {
		return mayRead(p, access.Model(about)) || mayRead(p, access.OfPolicy(about))
	}
	if rule, is := strings.CutPrefix(about, "route "); is {
		return mayRead(p, access.Route(rule)) || mayRead(p, access.OfPolicy(path.Dir(rule))) // whoever reads a namespace's policies
	}
	return true
}

// within leaves out what a principal may not read.
func (h History) within(p access.Principal) History {
	if mayRead(p, access.Everything()) {
		return h
	}
	return History{
		Records:  only(h.Records, func(r release.Record) bool { return mayRead(p, access.Model(r.Model)) }),
		Policies: only(h.Policies, func(r PolicyRecord) bool { return mayRead(p, access.OfPolicy(r.Policy)) }),
		Proxies:  h.Proxies,
	}
}

// only returns the elements that are kept, in a list of its own.
func only[T any](list []T, keep func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return !keep(x) })
}
