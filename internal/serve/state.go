package serve

import (
	"sync"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// configState is what is known of the configuration: the last good one in
// use, and what is wrong with a newer one. It is safe for concurrent use.
type configState struct {
	mu       sync.Mutex
	loaded   bool
	applied  time.Time
	version  string
	problems []string
	refused  time.Time
}

// Readiness is the body of /readyz.
type Readiness struct {
	Ready  bool         `json:"ready"`
	Config ConfigStatus `json:"config"`
	// Policies is of a process that judges answers; absent: it does not.
	Policies *PolicyStatus `json:"policies,omitempty"`
	// Kills is of a process that judges answers; absent: it does not, or nobody can
	// kill.
	Kills *KillStatus `json:"kills,omitempty"`
}

// readiness is what /readyz tells.
func (p *process) readiness() Readiness {
	r := p.config.readiness()
	r.Ready = r.Ready && !p.draining.Load()
	r.Policies = p.policyStatus()
	if p.host != nil {
		var waits bool
		r.Kills, waits = p.host.kills.status()
		r.Ready = r.Ready && !waits
	}
	return r
}

// ConfigStatus says which configuration is in use.
type ConfigStatus struct {
	// Version is a hash of the configuration in use.
	Version string `json:"version,omitempty"`
	// Applied is since when it is in use.
	Applied time.Time `json:"applied,omitzero"`
	// Refused is since when what is on disk is refused; the configuration in
	// use is the last good one.
	Refused  time.Time `json:"refused,omitzero"`
	Problems []string  `json:"problems,omitempty"`
}

// apply notes a good configuration. changed: it is another one than the one in
// use; mended: what was on disk before was refused.
func (c *configState) apply(version string, now time.Time) (changed, mended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, mended = !c.loaded || c.version != version, len(c.problems) > 0
	if changed {
		c.loaded, c.version, c.applied = true, version, now
	}
	c.problems, c.refused = nil, time.Time{}
	return changed, mended
}

func (c *configState) refuse(problems []string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.problems) == 0 {
		c.refused = now
	}
	c.problems = problems
}

func (c *configState) readiness() Readiness {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Readiness{Ready: c.loaded, Config: ConfigStatus{
		Version: c.version, Applied: c.applied, Refused: c.refused, Problems: c.problems,
	}}
}

// forAPI is what the HTTP API tells of the configuration.
func (c *configState) forAPI() admin.Configuration {
	r := c.readiness()
	return admin.Configuration{Applied: r.Config.Applied, Problems: r.Config.Problems}
}
