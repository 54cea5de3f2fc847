package control

import (
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/telemetry"
)

// troubles are what is not well with this replica itself.
func (c *Control) troubles() []admin.Trouble {
	var out []admin.Trouble
	add := func(about string, f fault, format string) {
		if f.err != nil {
			out = append(out, admin.Trouble{Level: admin.LevelProblem, About: about, What: fmt.Sprintf(format, f.err), Since: f.since})
		}
	}
	if !c.book.ready() && c.snapshot() != nil {
		out = append(out, admin.Trouble{
			Level: admin.LevelProblem, About: "releases",
			What: "the store was not read since the start: they are those that this replica last knew, and what others have decided since is not among them",
		})
	}
	add("releases", c.refused(), "what was decided cannot be published, the proxies keep what they have: %s")
	add("data folder", c.book.copy.trouble(), "without the store a restart would not know the newest releases: %s")
	add("data folder", c.kills.copy.trouble(), "without the store a restart would not know what is killed: %s")
	add("data folder", c.register.copy.trouble(), "without the store a restart would not know which proxies there are: %s")
	add("data folder", c.policies.copy.trouble(), "without the store a restart would not know which policies are held: %s")
	out = append(out, c.killTroubles(time.Now())...)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, model := range sortedKeys(c.failing) {
		add(model, c.failing[model], "its release cannot go on, and is tried again: %s")
	}
	return out
}

// scrape tells how every model of the files stands. Of one that has left them nobody
// could end an alert.
func (c *Control) scrape(emit func(telemetry.ModelReleases)) {
	now, in := time.Now(), c.inFiles()
	for model, s := range c.book.all() {
		if !in[model] {
			continue
		}
		proof, refused := c.proofs.of(&s)
		out := telemetry.ModelReleases{
			Model: model, Generation: s.Generation, Weights: s.Weights, Degraded: s.Degraded, Unproven: len(proof.Missing),
		}
		for _, need := range admin.NeedsOf(s, refused, now) {
			out.Stuck = append(out.Stuck, string(need))
		}
		emit(out)
	}
}
