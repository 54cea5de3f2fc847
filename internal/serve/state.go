package serve

import (
	"sync"
	"time"
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
}

// ConfigStatus says which configuration is in use.
type ConfigStatus struct {
	// Version is a hash of the configuration in use.
	Version string    `json:"version,omitempty"`
	Applied time.Time `json:"applied,omitzero"`
	// Refused is when a newer configuration was refused; the one in use is
	// the last good one.
	Refused  time.Time `json:"refused,omitzero"`
	Problems []string  `json:"problems,omitempty"`
}

func (c *configState) apply(version string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded, c.version, c.applied = true, version, now
	c.problems, c.refused = nil, time.Time{}
}

func (c *configState) refuse(problems []string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems, c.refused = problems, now
}

func (c *configState) readiness() Readiness {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Readiness{Ready: c.loaded, Config: ConfigStatus{
		Version: c.version, Applied: c.applied, Refused: c.refused, Problems: c.problems,
	}}
}
