package control

import (
	"context"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// Releases and kills meet here: releases heed what is killed, and what they order to
// be killed is.

// killedOf is what is killed of a model.
func killedOf(set *kill.Set, m *compile.Model) (out release.Killed) {
	if set.Empty() {
		return out
	}
	take := func(t kill.Target) (release.Kill, bool) {
		s := set.Get(t)
		if !s.Killed && s.Generation > 0 && s.Since.After(out.Revived) {
			out.Revived = s.Since
		}
		k := release.Kill{Target: t.Key(), Since: s.Since, By: s.By, Reason: s.Reason, Mode: string(s.Mode), Generation: s.Generation}
		if n := len(s.Seen); n > 0 {
			k.Order = s.Seen[n-1]
		}
		return k, s.Killed
	}
	for _, t := range []kill.Target{kill.Everything, kill.ForModel(m.Name)} {
		if k, killed := take(t); killed {
			out.Whole = &k
		}
	}
	for i := range m.Versions {
		if k, killed := take(kill.ForVersion(m.Name, m.Versions[i].Name)); killed {
			if out.Versions == nil {
				out.Versions = map[string]release.Kill{}
			}
			out.Versions[m.Versions[i].Name] = k
		}
	}
	return out
}

// killPlanOf is how a model is killed by itself; nil: never.
func killPlanOf(m *compile.Model) *release.KillPlan {
	if m.Kill == nil {
		return nil
	}
	return &release.KillPlan{Mode: string(m.Kill.Mode), CoolDown: release.Duration(m.Kill.CoolDown), PerHour: m.Kill.PerHour}
}

// carryOut does the automatic kill that a model's state orders: once, however often
// it is called and by whomever, since a kill's state knows the orders that it has
// taken in. What a person has killed or revived meanwhile stays as that person wants
// it.
func (c *Control) carryOut(ctx context.Context, m *compile.Model) {
	k := c.book.get(m.Name).state.Order(time.Now())
	if k == nil || killedOf(c.kills.set(), m).Revived.After(k.At) {
		return
	}
	for _, t := range targetsOfStop(m.Name, k) {
		if c.kills.get(t).state.Killed {
			continue
		}
		_, durability, err := c.Kill(ctx, t, kill.Order{
			ID: k.ID, At: k.At, By: release.By, Reason: short(k.Reason), Mode: kill.Mode(k.Mode), Automatic: true, Evidence: k.Reason,
		})
		switch {
		case durability == "":
			c.fails(m.Name, err)
		case err != nil:
			c.o.Log.Error().Err(err).Str("target", t.String()).Str("reason", k.Reason).Msg("killed by itself; something of it is missing")
		default:
			c.o.Log.Warn().Str("target", t.String()).Str("reason", k.Reason).Msg("killed by itself")
		}
	}
}

func targetsOfStop(model string, k *release.Stop) []kill.Target {
	if len(k.Versions) == 0 {
		return []kill.Target{kill.ForModel(model)}
	}
	var out []kill.Target
	for _, v := range k.Versions {
		out = append(out, kill.ForVersion(model, v))
	}
	return out
}

// short is a text as a kill takes it.
func short(reason string) string {
	if len(reason) <= kill.MaxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:kill.MaxReason], "")
}

// ordersKill reports whether a change orders an automatic kill: it waits for nothing
// that a rollback does not wait for.
func ordersKill(from, to release.State) bool {
	return to.Stop != nil && to.Stop.Seen.IsZero() && (from.Stop == nil || from.Stop.ID != to.Stop.ID)
}

// killTroubles are automatic kills that did not help, and those that a rail holds
// back.
func (c *Control) killTroubles(now time.Time) (out []admin.Trouble) {
	in, states := c.inFiles(), c.book.all()
	for _, model := range sortedKeys(states) {
		s := states[model]
		if !in[model] {
			continue
		}
		if k := s.Stop; k != nil && k.Helped != nil && !*k.Helped {
			out = append(out, admin.Trouble{
				Level: admin.LevelProblem, About: model, What: "the automatic kill of " + stopped(k) + " did not help: " + k.Result, Since: k.At,
			})
		}
		if b := s.KillBound; b != nil && now.Before(b.Until) {
			out = append(out, admin.Trouble{Level: admin.LevelProblem, About: model, What: b.SaysOfKill(), Since: b.Since})
		}
	}
	return out
}

func stopped(k *release.Stop) string {
	if len(k.Versions) == 0 {
		return "the model"
	}
	return strings.Join(k.Versions, ", ")
}
