// Package compile turns the objects of a configuration into what hosts run
// on: every policy into the one string that a route's metadata carries, and
// everything together into a Snapshot for a proxy. It is pure: equal objects
// give equal bytes.
package compile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// Dir loads a folder and compiles it. The problems are those of both, in their
// order; where they hold an error the snapshot is nil.
func Dir(dir string) (*Snapshot, config.Problems) {
	return finish(config.Load(dir))
}

// Files is Dir for texts that are in memory.
func Files(files ...config.File) (*Snapshot, config.Problems) {
	return finish(config.Parse(files...))
}

func finish(w *config.World, problems config.Problems) (*Snapshot, config.Problems) {
	c := newCompiler(w)
	snapshot := c.compile()
	if problems = append(problems, c.problems...); !problems.Failed() {
		c.problems = nil
		c.run(snapshot)
		problems = append(problems, c.problems...)
	}
	problems = problems.Sorted()
	if problems.Failed() {
		return nil, problems
	}
	return snapshot, problems
}

// Compile compiles a world that package config has validated. Of a world with
// mistakes it reports those that only compiling finds, and its snapshot is not
// to be used.
func Compile(w *config.World) (*Snapshot, config.Problems) {
	c := newCompiler(w)
	s := c.compile()
	if !c.problems.Failed() {
		c.run(s)
	}
	return s, c.problems
}

func newCompiler(w *config.World) *compiler {
	return &compiler{world: w, policies: map[string]*policy.Policy{}}
}

func (c *compiler) compile() *Snapshot {
	w := c.world
	for _, p := range w.Policies {
		if _, twice := c.policies[p.Key()]; !twice {
			c.policies[p.Key()] = c.policy(p)
		}
	}
	s := &Snapshot{}
	rules := w.Rules()
	for i := range rules {
		s.Routes = append(s.Routes, c.route(&rules[i]))
	}
	slices.SortStableFunc(s.Routes, func(a, b Route) int { return cmp.Compare(a.Name, b.Name) })
	s.Clusters = c.clusters(rules)
	s.Hosts = c.hosts(s.Routes)
	s.Models = c.models(rules)
	s.Inbound = c.inbound()
	return s
}

// compiler holds what one compilation has in hand.
type compiler struct {
	world    *config.World
	policies map[string]*policy.Policy // by namespace/name; what all its routes share
	problems config.Problems
}

// fail reports a mistake, unless it only follows from an unreadable field.
func (c *compiler) fail(source *config.Source, field, format string, args ...any) {
	if !source.Unreadable(field) {
		c.problems = append(c.problems, source.Problem(field, format, args...))
	}
}

func (c *compiler) warn(source *config.Source, field, format string, args ...any) {
	if !source.Unreadable(field) {
		p := source.Problem(field, format, args...)
		p.Warning = true
		c.problems = append(c.problems, p)
	}
}

// clusterName is that of one version: namespace/model/version, and /grpc after
// it where the version is asked over gRPC: it may be asked both ways.
func clusterName(namespace, model, version string, grpc bool) string {
	name := fmt.Sprintf("%s/%s/%s", namespace, model, version)
	if grpc {
		name += "/grpc"
	}
	return name
}
