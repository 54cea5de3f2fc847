package control

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
)

// targeted says why there is nothing that a kill of a target would stop. What has left
// the files may still have traffic: by a proxy that refuses its configuration, or is
// cut off.
func (c *Control) targeted(t kill.Target) error {
	if err := t.Validate(); err != nil {
		return err
	}
	s := c.snapshot()
	if t.Scope == kill.All || s == nil { // without files nothing is known: the kill holds for when they come
		return nil
	}
	names := targetsOf(s, t.Scope)
	if slices.Contains(names, t.Name) || c.wasThere(t) {
		return nil
	}
	return fmt.Errorf("%w: %s; want one of %s", ErrNoTarget, t, few(names))
}

// ErrNoTarget is what a kill fails with of something that nobody has heard of.
var ErrNoTarget = errors.New("there is no such target")

// wasThere reports whether a target was killed before, was released, or was in the
// files that this process has published.
func (c *Control) wasThere(t kill.Target) bool {
	versions := c.book.get(t.Model()).state.Versions
	_, released := versions[path.Base(t.Name)]
	if c.kills.get(t).state.Generation > 0 || c.kills.spoiled(t) || released && t.Scope == kill.Version || len(versions) > 0 && t.Scope == kill.Model {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.had[t]
}

// mostHad bounds what is remembered of files that are no more.
const mostHad = 100_000

// remember notes what the files have that are published. c.mu is held.
func (c *Control) remember(s *compile.Snapshot) {
	if len(c.had) > mostHad {
		clear(c.had)
	}
	for _, scope := range kill.Scopes() {
		for _, name := range targetsOf(s, scope) {
			c.had[kill.Target{Scope: scope, Name: name}] = true
		}
	}
}

// targetsOf are the names that a kill of a scope may have.
func targetsOf(s *compile.Snapshot, scope kill.Scope) (names []string) {
	switch scope {
	case kill.Route:
		for i := range s.Routes {
			names = append(names, s.Routes[i].Name)
		}
	case kill.Model:
		for i := range s.Models {
			names = append(names, s.Models[i].Name)
		}
	case kill.Version:
		for i := range s.Models {
			for j := range s.Models[i].Versions {
				names = append(names, s.Models[i].Name+"/"+s.Models[i].Versions[j].Name)
			}
		}
	case kill.All:
	}
	return names
}

// few lists names for a person.
func few(names []string) string {
	const most = 10
	text := ""
	for i, name := range names {
		if i == most {
			return text + fmt.Sprintf(" and %d more", len(names)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += name
	}
	if text == "" {
		return "none"
	}
	return text
}
