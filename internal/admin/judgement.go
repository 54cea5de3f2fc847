package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// Judgement is what is known of a version, in one word for a program.
type Judgement string

// The judgements. What is not known is neither good nor bad.
const (
	Good    Judgement = "good"    // enough was seen of it, and it is no worse than normal
	Bad     Judgement = "bad"     // the test of its answers says so, it is killed, or it was rolled back
	Unknown Judgement = "unknown" // too little was seen, or nothing that could be relied on
)

// VersionJudgement is what is known of one version, for a program that moves its
// traffic.
type VersionJudgement struct {
	Model   string    `json:"model"` // "namespace/name"
	Version string    `json:"version"`
	Now     time.Time `json:"now"` // by the replica's clock
	// Generation of the model.
	Generation uint64    `json:"generation"`
	Judgement  Judgement `json:"judgement"`
	Reason     string    `json:"reason"` // of the judgement, in one line
	Weight     int       `json:"weight"` // percent
	// Evidence is what its answers say; absent: nothing yet.
	Evidence *release.Evidence `json:"evidence,omitempty"`
}

// judgementOf judges a version. doubt is why what this replica knows may be old;
// empty: it is not. It is pure.
//
// An error goes towards unknown, with two exceptions that go towards bad: what was
// found bad stays so in doubt, and a kill needs no evidence. Nothing makes a version
// good but its own answers, seen by a replica that is sure of them.
func judgementOf(m *Model, v *Version, kills []kill.State, doubt string) (Judgement, string) {
	whole := ""
	for i := range kills {
		switch k := &kills[i]; {
		case !k.Killed:
		case k.Target == kill.ForVersion(m.Model, v.Name):
			return Bad, fmt.Sprintf("it was killed by %s: %s", k.By, k.Reason)
		case k.Target.Scope == kill.All, k.Target == kill.ForModel(m.Model):
			whole = fmt.Sprintf("%s is killed by %s, and nothing is judged until it is revived: %s", k.Target.Key(), k.By, k.Reason)
		}
	}
	e := v.Evidence
	if e == nil {
		e = &release.Evidence{}
	}
	fails := e.Verdict == release.Failure && e.Requests > 0
	switch h := v.Hold; {
	case v.Condemned != nil:
		return Bad, fmt.Sprintf("it was rolled back by %s: %s", v.Condemned.By, v.Condemned.Reason)
	case whole != "":
		return Unknown, whole
	case m.Gone || v.Gone:
		return Unknown, "it is not in the configuration any more"
	case fails && h != nil && m.Now.Before(h.Until):
		return Unknown, fmt.Sprintf("it fails, and %s has decided for it until %s: %s", h.By, h.Until.UTC().Format(time.RFC3339), e.Why)
	case fails:
		return Bad, e.Why
	case doubt != "":
		return Unknown, doubt
	case e.Verdict == release.Success && m.Incident == nil:
		return Good, e.Why
	case m.Incident != nil:
		return Unknown, "a common cause is looked for: " + m.Incident.Why
	case e.Requests == 0:
		return Unknown, "no answer of it was judged"
	}
	return Unknown, fmt.Sprintf("%d of %d answers bad: %s", e.Bad, e.Requests, e.Why)
}

// versionJudgement judges the version that the path names.
func versionJudgement(ctx context.Context, c *call) (any, error) { return c.judge(ctx) }

func (c *call) judge(ctx context.Context) (*VersionJudgement, error) {
	name := c.params["version"]
	if err := nameOf("version", name); err != nil {
		return nil, err
	}
	control := c.server.control
	m, err := control.Model(ctx, c.object)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(m.Versions, func(v Version) bool { return v.Name == name })
	if i < 0 {
		return nil, NotFound("%s has no version %s", c.object, name).Hinted("there are: %s", versionNames(m.Versions))
	}
	doubt, err := c.doubt(ctx)
	if err != nil {
		return nil, err
	}
	v := &m.Versions[i]
	out := &VersionJudgement{Model: m.Model, Version: name, Now: m.Now, Generation: m.Generation, Weight: v.Weight, Evidence: v.Evidence}
	out.Judgement, out.Reason = judgementOf(&m, v, control.Kills(), doubt)
	return out, nil
}

func versionNames(versions []Version) string {
	if len(versions) == 0 {
		return "none"
	}
	names := make([]string, len(versions))
	for i := range versions {
		names[i] = versions[i].Name
	}
	return strings.Join(names, ", ")
}

// doubt says why what this replica knows of answers may be old: it has the evidence
// of the one that leads, through the store.
func (c *call) doubt(ctx context.Context) (string, error) {
	s, err := c.server.control.Status(ctx)
	switch {
	case err != nil:
		return "", err
	case !s.Store.Well:
		return "what is known may be old, the store " + s.Store.Problem, nil
	case s.Leader.Replica == "":
		return "what is known may be old, no replica leads", nil
	}
	return "", nil
}
