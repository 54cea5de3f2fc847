package control

import (
	"context"
	"time"

	"github.com/safestate/safestate/internal/release"
)

// leavesAfter is how long a model has to be out of the files before its rollout ends:
// files that are being replaced may lack it for a moment.
const leavesAfter = time.Minute

// inFiles are the models that the files have; nil before these were read.
func (c *Control) inFiles() map[string]bool {
	s := c.snapshot()
	if s == nil {
		return nil
	}
	in := make(map[string]bool, len(s.Models))
	for i := range s.Models {
		in[s.Models[i].Name] = true
	}
	return in
}

// dismiss ends what goes on with models that have left the files: nobody decides
// about them, and nobody should find a rollout half way when they are back. The
// leader calls it with every round.
func (c *Control) dismiss(ctx context.Context, now time.Time) {
	for _, model := range c.left(now) {
		from := c.book.get(model)
		next, changed := release.Leave(from.state, now)
		if !changed {
			continue
		}
		if err := c.commit(ctx, from, next); err != nil && ctx.Err() == nil && c.fails(model, err) {
			c.o.Log.Warn().Err(err).Str("model", model).Msg("the rollout of a model that left the files cannot be ended yet")
		}
	}
}

// left are the models that have been out of the files for long.
func (c *Control) left(now time.Time) (out []string) {
	in, states := c.inFiles(), c.book.all()
	if in == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for model := range c.away {
		if in[model] {
			delete(c.away, model)
		}
	}
	for model := range c.failing {
		if !in[model] && states[model].Rollout == nil {
			delete(c.failing, model) // nobody tries any more
		}
	}
	for model := range states {
		switch since, known := c.away[model]; {
		case in[model]:
		case !known:
			c.away[model] = now
		case now.Sub(since) >= leavesAfter:
			out = append(out, model)
		}
	}
	return out
}
