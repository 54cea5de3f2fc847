package serve

import (
	"context"
	"slices"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// load reads the configuration folder and applies it whole or not at all.
func (p *process) load(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	snapshot, problems := p.plane.read(ctx)
	if err := problems.Err(); err != nil {
		return p.refuse(problems.Errors(), err)
	}
	if p.host != nil {
		if err := p.host.processor.Prepare(policiesOf(snapshot)); err != nil {
			return p.refuse(config.Problems{{Message: err.Error()}}, err)
		}
	}
	before := p.config.readiness().Config.Version
	version, err := p.plane.configure(ctx, snapshot)
	p.plane.mesh.applied(err)
	if err != nil {
		return p.refuse(config.Problems{{Message: err.Error()}}, err)
	}
	p.plane.configured(ctx, before, version)
	p.tellUnguarded(snapshot)
	p.tellUnserved(snapshot)
	p.longest = longestStream(snapshot)
	p.applied(version, problems.Warnings())
	return nil
}

// tellUnguarded logs the routes that had a policy and have none any more: their
// answers are not inspected, and a file that lost its ending looks no different
// from one that was taken away on purpose.
func (p *process) tellUnguarded(s *compile.Snapshot) {
	guarded := make(map[string]bool, len(s.Routes))
	for i := range s.Routes {
		r := &s.Routes[i]
		guarded[r.Name] = r.Policy != nil
		if r.Policy == nil && p.guarded[r.Name] {
			p.log.Warn().Str("route", r.Name).Msg("the route has lost its policy: its answers are not inspected any more")
		}
	}
	p.guarded = guarded
}

// mostUnserved is how many routes a line about those that are not served names.
const mostUnserved = 20

// tellUnserved logs, once as long as they are the same, the routes that clients
// without a proxy cannot call: nothing else says so before they try.
func (p *process) tellUnserved(s *compile.Snapshot) {
	r, err := envoy.ProxylessResources(s)
	if err != nil || slices.Equal(r.Unserved, p.unserved) {
		return // an error has refused the whole configuration before
	}
	p.unserved = r.Unserved
	if n := len(r.Unserved); n > 0 {
		p.log.Info().Int("routes", n).Strs("unserved", r.Unserved[:min(n, mostUnserved)]).
			Msg("gRPC clients that are their own proxy cannot call some routes; through Envoy these work")
	}
}

func (p *process) refuse(problems config.Problems, err error) error {
	texts := make([]string, len(problems))
	for i, pr := range problems {
		texts[i] = pr.String()
	}
	p.config.refuse(texts, time.Now())
	p.metrics.ConfigRejected(len(texts))
	return err
}

func (p *process) applied(version string, warnings config.Problems) {
	now := time.Now()
	p.metrics.ConfigApplied(now)
	changed, mended := p.config.apply(version, now)
	switch {
	case changed:
		for _, w := range warnings {
			p.log.Warn().Msg(w.String())
		}
		p.log.Info().Str("version", version).Msg("configuration applied")
	case mended:
		p.log.Info().Str("version", version).Msg("configuration mended: it is the one in use")
	}
}

func policiesOf(s *compile.Snapshot) []*policy.Policy {
	var out []*policy.Policy
	for _, r := range s.Judged() {
		out = append(out, r.Policy)
	}
	return out
}

// reload is load for a process that serves already: what is refused is told
// and the last good configuration stays.
func (p *process) reload(ctx context.Context) {
	before := p.config.readiness().Config.Problems
	if err := p.load(ctx); err != nil && !sameProblems(before, p.config.readiness().Config.Problems) {
		p.log.Error().Msg("configuration refused, the last good one stays:\n" + err.Error())
	}
}

func sameProblems(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// again has the folder read once more, soon.
func (p *process) again() {
	select {
	case p.rereads <- struct{}{}:
	default: // it is about to be
	}
}

// retryMesh is how often a mesh whose objects cannot be used is read.
const retryMesh = 2 * time.Second

// reread reads the configuration whenever again asks for it, until ctx ends. What a
// mesh has is also read while it cannot be used: nothing may tell when it can.
func (p *process) reread(ctx context.Context) {
	for {
		var retry <-chan time.Time
		if p.plane.mesh != nil && len(p.config.readiness().Config.Problems) > 0 {
			retry = time.After(retryMesh)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.rereads:
		case <-retry:
		}
		p.reload(ctx)
	}
}
