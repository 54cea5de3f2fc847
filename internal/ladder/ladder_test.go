package ladder

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
)

func TestTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		refuse bool
		source Source
		status int
		rungs  string
	}{
		"refuse": {true, Refused, 503, ""},
		"answer": {false, SafeDefault, 200, "safe_default answered"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newState(t)
			p := fraud()
			p.Budget = &policy.Budget{FallbackPercent: 20, Window: policy.Duration(time.Hour), MinRequests: 5, Refuse: c.refuse}
			l, rec := newLadder(t, s, p)
			for range 4 {
				l.Clean(asking(askBody, nil).Exchange, policy.Version{Name: "v1"}, false)
			}
			wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody) // one of five
			if len(rec.overBudget) != 0 {
				t.Fatal("one of five is over a budget of 20 %")
			}
			rec.took()
			a := l.Answer(t.Context(), asking(askBody, nil))
			if a.Source != c.source || a.Status != c.status || len(a.Body) == 0 {
				t.Errorf("past the budget: %+v", a)
			}
			if got := rec.took(); got != c.rungs || !slices.Equal(rec.overBudget, []bool{c.refuse}) {
				t.Errorf("rungs %q, told %v", got, rec.overBudget)
			}
			// The counts are the route's and outlive a change of its policy.
			again, told := newLadder(t, s, p)
			if a := again.Answer(t.Context(), asking(askBody, nil)); a.Source != c.source || len(told.overBudget) != 1 {
				t.Errorf("after a change of the policy: %+v", a)
			}
		})
	}
}

func TestWithoutTimeNoNetworkedRungIsAsked(t *testing.T) {
	for name, left := range map[string]time.Duration{"none": 0, "gone": -time.Minute, "less than a round trip": forLocal} {
		t.Run(name, func(t *testing.T) {
			e, asked := server(t, says(200, smallBody))
			s, store := newState(t)
			s.Cache, s.CacheRemote = unasked{t, store}, true
			l, rec := newLadder(t, s, fraud(cached(policy.OnFailure), small(e), rulesRungOf(rulesBody)))
			ask := asking(askBody, nil)
			ask.Deadline = time.Now().Add(left)
			wantAnswer(t, l.Answer(t.Context(), ask), Rules, rulesBody)
			if got := rec.took(); got != "cache skipped, fallback skipped, rules answered" || asked.Load() != 0 {
				t.Errorf("%s, the fallback asked %d times", got, asked.Load())
			}
		})
	}
}

// unasked is a store that must not be asked.
type unasked struct {
	t *testing.T
	*aging
}

func (u unasked) Get(context.Context, cache.Key) (cache.Entry, bool, error) {
	u.t.Error("the store was asked")
	return cache.Entry{}, false, nil
}

// probe is a rung that looks at the time it is given.
type probe struct {
	network bool
	left    time.Duration
	bounded bool
}

func (p *probe) source() Source  { return Fallback }
func (p *probe) networked() bool { return p.network }
func (p *probe) answer(ctx context.Context, ask *Ask) (Answer, Outcome) {
	until, ok := ctx.Deadline()
	p.bounded, p.left = ok, ask.Deadline.Sub(until)
	return Answer{}, Missed
}

func TestNetworkedRungsLeaveTimeForTheLocalOnes(t *testing.T) {
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud())
	networked, local := &probe{network: true}, &probe{}
	l.rungs = []rung{networked, local}
	l.Answer(t.Context(), asking(askBody, nil))
	// The context's deadline is computed a few instructions after what is left.
	if !networked.bounded || networked.left > forLocal || networked.left < forLocal-time.Millisecond/2 {
		t.Errorf("a networked rung's time ends %s before the request's, want %s", networked.left, forLocal)
	}
	if local.bounded {
		t.Error("the time of a local rung is bounded by that of the one before it")
	}
}

func TestNetworked(t *testing.T) {
	e, _ := server(t, says(200, smallBody))
	s, _ := newState(t)
	for name, c := range map[string]struct {
		remote bool
		rungs  []policy.Rung
		want   bool
	}{
		"local rungs":          {false, []policy.Rung{cached(policy.OnFailure), rulesRungOf(rulesBody)}, false},
		"a fallback":           {false, []policy.Rung{small(e)}, true},
		"a cache in a network": {true, []policy.Rung{cached(policy.OnFailure)}, true},
	} {
		s.CacheRemote = c.remote
		l, _ := newLadder(t, s, fraud(c.rungs...))
		if l.Networked() != c.want {
			t.Errorf("%s: %v", name, l.Networked())
		}
	}
}

func TestACallerWhoIsGoneStillGetsAnAnswer(t *testing.T) {
	e, asked := server(t, says(200, smallBody))
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(small(e, withBreaker(1))))
	ctx, leave := context.WithCancel(t.Context())
	leave()
	wantAnswer(t, l.Answer(ctx, asking(askBody, nil)), SafeDefault, defaultBody)
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Fallback, smallBody)
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestClientsAreShared(t *testing.T) {
	e, _ := server(t, says(200, smallBody))
	s, _ := newState(t)
	one, _ := newLadder(t, s, fraud(small(e)))
	two, _ := newLadder(t, s, fraud(small(e), rulesRungOf(rulesBody)))
	other, _ := newLadder(t, s, fraud(small(e, func(f *policy.Fallback) { f.MaxBytes = 99 })))
	if len(s.clients) != 2 {
		t.Fatalf("%d clients for two settings", len(s.clients))
	}
	one.Close()
	one.Close() // gives back once
	wantAnswer(t, two.Answer(t.Context(), asking(askBody, nil)), Fallback, smallBody)
	if len(s.clients) != 2 {
		t.Fatal("a client was closed that a ladder uses")
	}
	two.Close()
	other.Close()
	if len(s.clients) != 0 {
		t.Fatalf("%d clients that nobody uses", len(s.clients))
	}
}

func TestAPolicyThatCannotBeBuilt(t *testing.T) {
	e, _ := server(t, says(200, smallBody))
	last := policy.Rung{SafeDefault: &policy.SafeDefault{Body: defaultBody}}
	for name, rungs := range map[string][]policy.Rung{
		"a fallback without endpoints": {small(e), {Fallback: &policy.Fallback{Model: "default/x", Protocol: policy.OpenInferenceV2, ServedName: "x"}}, last},
		"an origin without endpoints":  {small(e), {Cache: &policy.Cache{When: policy.First, Origin: &policy.Fallback{}}}, last},
		"rules without a cap":          {small(e), {Rules: &policy.Rules{Template: "{}"}}, last},
		"a template that is none":      {small(e), {SafeDefault: &policy.SafeDefault{Template: "{{"}}},
		"a source that is none":        {small(e), {SafeDefault: &policy.SafeDefault{Refresh: &policy.Refresh{}}}},
		"no default":                   {small(e)},
		"a default behind a rung":      {{Fallback: small(e).Fallback, SafeDefault: last.SafeDefault}},
		"nothing":                      nil,
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newState(t)
			d, err := detect.Compile(fraud())
			if err != nil {
				t.Fatal(err)
			}
			p := fraud()
			p.Ladder = rungs
			if _, err := New(p, d, s, &recorder{}); err == nil {
				t.Fatal("built")
			}
			if len(s.clients) != 0 {
				t.Errorf("%d clients are left behind", len(s.clients))
			}
		})
	}
}
