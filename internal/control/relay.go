package control

import (
	"context"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
)

// leaderValue is what a leader is known by: its name, and where the others reach
// it. Names have no blanks.
func leaderValue(replica, address string) string { return replica + " " + address }

func splitLeader(value string) (replica, address string) {
	replica, address, _ = strings.Cut(value, " ")
	return replica, address
}

// looksForLeader is how often a replica that does not lead asks who does.
const looksForLeader = 500 * time.Millisecond

// relay hands what hosts report to this replica on to the one that leads, until
// ctx ends. A replica that nobody else reaches has no others.
func (c *Control) relay(ctx context.Context) {
	if c.o.Address == "" {
		return
	}
	r := signals.NewRelay(c.o.Hub, func(err error) {
		if err != nil && ctx.Err() == nil {
			c.o.Log.Warn().Err(err).Msg("reports do not reach the replica that leads")
		}
	})
	defer r.Close()
	tick := time.NewTicker(looksForLeader)
	defer tick.Stop()
	to := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		value, err := c.o.Store.Leader(ctx, leaderName)
		if err != nil {
			continue // the last one, if it still lives
		}
		replica, address := splitLeader(value)
		if replica == c.o.Replica {
			address = ""
		}
		if address != to {
			r.To(c.link(address))
			to = address
		}
	}
}

// link is the way to another replica; nil: there is none.
func (c *Control) link(address string) signals.Link {
	if address == "" {
		return nil
	}
	return signals.Dial(signals.DialOptions{Targets: []string{"passthrough:///" + address}, Credentials: c.o.Credentials})
}

// modelsOf are the models whose evidence counts, with their versions.
func modelsOf(s *compile.Snapshot) map[string][]string {
	out := map[string][]string{}
	for i := range s.Models {
		m := &s.Models[i]
		out[m.Name] = nil
		for j := range m.Versions {
			out[m.Name] = append(out[m.Name], m.Versions[j].Name)
		}
	}
	return out
}

// breakersOf are the settings of the breakers that hosts share, by their keys.
func breakersOf(s *compile.Snapshot) map[string]policy.Breaker {
	out := map[string]policy.Breaker{}
	for _, r := range s.Judged() {
		p := r.Policy
		if p.Breaker == nil {
			continue
		}
		for _, v := range p.Versions {
			model := v.Model
			if model == "" {
				model = p.Model
			}
			out[breaker.VersionKey(model, v.Name)] = *p.Breaker
		}
	}
	return out
}
