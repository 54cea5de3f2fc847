package sequential

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// draw is how many of n answers are bad by chance.
func draw(r *rand.Rand, n int, rate float64) int {
	bad := 0
	for range n {
		if r.Float64() < rate {
			bad++
		}
	}
	return bad
}

// The level holds however often one looks: of versions whose rate is the one that
// is normal, no more than alpha are called failing.
func TestLookingOftenIsNoError(t *testing.T) {
	const versions, alpha = 1500, 0.02
	r := rand.New(rand.NewPCG(7, 7))
	failed := 0
	for range versions {
		m := &Monitor{}
		m.Learn(Count{1e8, 1e6})
		now := start
		for range 400 {
			now = now.Add(10 * time.Second)
			own := make([]Count, 64)
			for range 10 {
				at := r.IntN(64)
				own[at].Requests++
				own[at].Bad += uint64(draw(r, 1, 0.01))
			}
			if m.Observe(now, own, nil, Params{Alpha: alpha}).Verdict == Failure {
				failed++
				break
			}
		}
	}
	if most := alpha*versions + 3*math.Sqrt(alpha*versions); float64(failed) > most {
		t.Errorf("%d of %d healthy versions were called failing, at most %.0f may be", failed, versions, most)
	}
}

// Whatever both have in common rolls nothing back, however much it varies.
func TestNoiseOfBothIsNoFailure(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newStory()
		s.rand = r
		rate := 0.01
		for range 5000 {
			rate = min(0.3, max(0.002, rate*math.Exp(0.1*r.NormFloat64())))
			if d := s.step(30, draw(r, 30, rate), 30, draw(r, 30, rate)); d.Verdict == Failure {
				t.Errorf("seed %d: %s", seed, d.Why)
				break
			}
		}
	}
}

// A version that gives the same bad answers, and some more, is called failing no
// later.
func TestMoreBadIsNeverLessBad(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		a, b := newStory(), newStory()
		p, more := math.Exp(-1-4*r.Float64()), 0.3*r.Float64()
		share := 1 + r.IntN(40)
		for _, s := range []*story{a, b} {
			s.rand = rand.New(rand.NewPCG(seed, 3))
			s.steps(300, share, 0, 41-share, 0)
		}
		for k := range 300 {
			bad := draw(r, share, p)
			worse := bad + draw(r, share-bad, more)
			at := r.Uint64()
			a.rand, b.rand = rand.New(rand.NewPCG(at, 4)), rand.New(rand.NewPCG(at, 4))
			x, y := a.step(share, bad, 41-share, 0), b.step(share, worse, 41-share, 0)
			if x.Verdict == Failure && y.Verdict != Failure {
				t.Errorf("seed %d, step %d: fails with %d of %d bad, not with %d: %s", seed, k, x.Bad, x.Requests, y.Bad, y.Why)
			}
			if x.Verdict == Failure {
				break
			}
		}
	}
}

// Clean answers in one call say the same as in many.
func TestCleanAnswersAddUp(t *testing.T) {
	a, b := newStory(), newStory()
	for _, s := range []*story{a, b} {
		s.steps(50, 20, 0, 20, 0)
		s.step(20, 2, 20, 0)
	}
	one := a.spread(900, 0)
	now := a.now.Add(100 * time.Millisecond)
	x := a.m.Observe(now, one, nil, Params{})
	var y Decision
	for i, c := range one {
		single := make([]Count, 64)
		single[i] = c
		y = b.m.Observe(now, single, nil, Params{})
	}
	if math.Abs(x.LogE-y.LogE) > 1e-9 || x.Verdict != y.Verdict {
		t.Errorf("%+v in one call, %+v in many", x, y)
	}
}

// Day 30 is as day 1: what a version was for weeks does not hide what it is now.
func TestOldAgeDoesNotHide(t *testing.T) {
	young, old := newStory(), newStory()
	young.steps(600, 25, 0, 25, 0)
	clean := make([]Count, 64)
	for i := range clean {
		clean[i].Requests = 2400
	}
	for range 30 * 24 * 6 { // a month, by reports of ten minutes
		old.now = old.now.Add(10 * time.Minute)
		old.m.Observe(old.now, clean, clean, old.p)
	}
	for _, bad := range []int{25, 5, 1} {
		a, b := *young, *old
		fast, slow := a.until(1000, 25, bad, 25, 0), b.until(1000, 25, bad, 25, 0)
		if slow > 2*fast+1 {
			t.Errorf("%d of 25 bad: found after %d steps in the first minute, after %d on day 30", bad, fast, slow)
		}
	}
}

// Nor does a long watch make it likelier: what stray bad answers began is paid for.
func TestWatchingForLongIsNoError(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for version := range 30 {
		m := &Monitor{}
		m.Learn(Count{1e8, 1e6})
		now := start
		own := make([]Count, 64)
		for range 12000 {
			now = now.Add(7 * time.Second)
			clear(own)
			for range 12 {
				at := r.IntN(64)
				own[at].Requests++
				own[at].Bad += uint64(draw(r, 1, 0.01))
			}
			if d := m.Observe(now, own, nil, Params{Alpha: 0.005}); d.Verdict == Failure {
				t.Errorf("version %d: %s", version, d.Why)
				break
			}
		}
	}
}

func TestNoEvidenceIsNone(t *testing.T) {
	s := newStory()
	if d := s.step(1, 0, 1, 0); d.LogE > 0 || d.LogE < -1 {
		t.Errorf("one clean answer: %+v", d)
	}
}

func TestRecovery(t *testing.T) {
	s := newStory()
	s.steps(600, 25, 0, 25, 0)
	if s.until(100, 25, 25, 25, 0) > 20 {
		t.Fatalf("not found: %+v", s.last)
	}
	if s.steps(5, 25, 0, 25, 0); s.last.Verdict != Failure {
		t.Errorf("a failure is forgotten after half a second: %+v", s.last)
	}
	if s.steps(6000, 25, 25, 25, 0); s.last.Verdict != Failure {
		t.Errorf("bad for ten minutes, and %+v", s.last)
	}
	if s.steps(3000, 25, 0, 25, 0); s.last.Verdict != Success {
		t.Errorf("well for five minutes, and %+v", s.last)
	}
}

// What becomes of the control once the version has failed changes nothing.
func TestFailureStays(t *testing.T) {
	s := newStory()
	s.steps(600, 25, 0, 25, 0)
	s.until(100, 25, 25, 25, 0)
	if s.steps(100, 0, 0, 50, 50); s.last.Verdict != Failure {
		t.Errorf("%+v", s.last)
	}
}

func TestAfterACommonCause(t *testing.T) {
	s := newStory()
	s.steps(600, 25, 0, 25, 0)
	if s.steps(18000, 25, 10, 25, 10); s.last.Verdict != CommonCause {
		t.Fatalf("%+v", s.last)
	}
	if s.steps(900, 25, 10, 25, 0); s.last.Verdict != Failure {
		t.Errorf("the control is well again since 90 s, the version is not: %+v", s.last)
	}
}

// A cause that both had just now is the likelier one of what comes next.
func TestLatelyAlike(t *testing.T) {
	s := newStory()
	s.steps(600, 495, 0, 5, 0)
	if s.steps(20, 495, 495, 5, 5); s.last.Verdict != CommonCause {
		t.Fatalf("%+v", s.last)
	}
	s.steps(300, 495, 0, 5, 0)
	s.step(5, 5, 0, 0)
	for range 6 {
		s.step(0, 0, 1, 0)
		s.step(0, 0, 0, 0)
	}
	if s.last.Verdict == Failure {
		t.Errorf("%+v", s.last)
	}
}

// Answers that the control gives as a feed breaks may be to requests of before.
func TestControlLagsBehind(t *testing.T) {
	s := newStory()
	s.steps(600, 25, 0, 25, 0)
	s.step(25, 25, 25, 0)
	if s.steps(50, 25, 25, 25, 25); s.last.Verdict != CommonCause {
		t.Errorf("%+v", s.last)
	}
}

// A caller who fails at both does not hide a version that fails for all.
func TestHostileCallerHidesNothing(t *testing.T) {
	s := newStory()
	hostile := func(bad int) Decision {
		own, control := s.spread(23, bad), s.spread(23, 0)
		own[9].Requests, own[9].Bad = own[9].Requests+2, own[9].Bad+2
		control[9].Requests, control[9].Bad = control[9].Requests+2, control[9].Bad+2
		s.now = s.now.Add(100 * time.Millisecond)
		s.last = s.m.Observe(s.now, own, control, s.p)
		return s.last
	}
	s.steps(600, 25, 0, 25, 0)
	for range 100 {
		if d := hostile(0); d.Verdict == Failure {
			t.Fatalf("%+v", d)
		}
	}
	for range 15 {
		hostile(2)
	}
	if s.last.Verdict != Failure {
		t.Errorf("%+v", s.last)
	}
}

// A noisy service is given room that a calm one is not.
func TestNoiseIsLearned(t *testing.T) {
	p0 := func(swing int) float64 {
		s := newStory()
		for minute := range 300 {
			s.now = s.now.Add(time.Minute)
			bad := 20 + swing*(minute%2*2-1)
			s.last = s.m.Observe(s.now, s.spread(20, 0), s.spread(2000, bad), s.p)
		}
		return s.last.P0
	}
	if calm, noisy := p0(0), p0(15); calm > 0.012 || noisy < 0.02 {
		t.Errorf("1 %% bad all the time: up to %g is normal; 0.25 and 1.75 %% in turn: %g", calm, noisy)
	}
}

func TestClockThatWasSetBack(t *testing.T) {
	s := newStory()
	s.steps(600, 25, 0, 25, 0)
	s.now = s.now.Add(-time.Hour)
	if s.step(25, 0, 25, 0); s.last.Verdict != Error {
		t.Errorf("%+v", s.last)
	}
	if n := s.until(100, 25, 25, 25, 0); n > 20 || s.last.Verdict != Failure {
		t.Errorf("after %d steps %+v", n, s.last)
	}
}

// So it does where its control is a holdback.
func TestAfterACommonCauseWithAHoldback(t *testing.T) {
	s := newStory()
	s.steps(600, 495, 0, 5, 0)
	if s.steps(6000, 495, 200, 5, 2); s.last.Verdict != CommonCause {
		t.Fatalf("%+v", s.last)
	}
	if s.steps(100, 495, 200, 5, 0); s.last.Verdict != Failure {
		t.Errorf("the control is well again since 10 s, the version is not: %+v", s.last)
	}
}

// A blip of both, in which the version's breaker opens: what the control answers
// when it is over says nothing of the version.
func TestAfterABlip(t *testing.T) {
	s := newStory()
	s.steps(600, 495, 0, 5, 0)
	s.step(5, 5, 0, 0)
	s.steps(2, 0, 0, 1, 1)
	for range 300 {
		if s.step(0, 0, 1, 0); s.last.Verdict == Failure {
			t.Fatalf("%+v", s.last)
		}
	}
}

// Where there was evidence without a failure over and over, more is needed.
func TestFalseAlarmsAreLearned(t *testing.T) {
	for times, want := range map[float64]Verdict{0: Failure, 1000: Inconclusive} {
		s := newStory()
		s.steps(600, 495, 0, 5, 0)
		s.m.Times = times
		s.step(5, 5, 0, 0)
		for range 6 {
			s.step(0, 0, 1, 0)
			s.step(0, 0, 0, 0)
		}
		if s.last.Verdict != want {
			t.Errorf("%g times: %+v", times, s.last)
		}
	}
}

// Neither worse than normal nor shown to be no worse is neither.
func TestBetween(t *testing.T) {
	s := newStory()
	s.p = Params{Floor: 0.01, Margin: 0.001}
	s.steps(2000, 200, 1, 0, 0)
	if s.last.Verdict != Success {
		t.Errorf("half of what is normal: %+v", s.last)
	}
	if s.steps(2000, 250, 3, 0, 0); s.last.Verdict != Inconclusive {
		t.Errorf("over what is normal by more than the margin: %+v", s.last)
	}
}

// A holdback that was taken away is not waited for.
func TestControlThatIsGone(t *testing.T) {
	s := newStory()
	s.steps(6000, 495, 0, 5, 0)
	s.steps(600, 500, 0, 0, 0)
	if n := s.until(100, 500, 500, 0, 0); n > 35 || s.last.Verdict != Failure {
		t.Errorf("after %d steps %+v", n, s.last)
	}
}

// One that is slow is: at a request a second its answers come every 100 s.
func TestControlThatIsSlow(t *testing.T) {
	s := newStory()
	for i := range 3600 {
		s.now = s.now.Add(time.Second)
		s.m.Observe(s.now, s.spread(1, 0), s.spread(1, 0)[:64*(1-min(1, i%100))], s.p)
	}
	for range 120 {
		s.now = s.now.Add(time.Second)
		if d := s.m.Observe(s.now, s.spread(1, 1), nil, s.p); d.Verdict == Failure {
			t.Fatalf("not waited for: %+v", d)
		}
	}
	s.now = s.now.Add(time.Second)
	if d := s.m.Observe(s.now, s.spread(1, 1), s.spread(1, 0), s.p); d.Verdict == Failure {
		t.Errorf("one good answer of the control's is enough: %+v", d)
	}
	s.now = s.now.Add(time.Second)
	if d := s.m.Observe(s.now, s.spread(1, 1), s.spread(1, 0), s.p); d.Verdict != Failure {
		t.Errorf("two are not: %+v", d)
	}
}

func TestShift(t *testing.T) {
	s := newStory()
	s.steps(6000, 5, 0, 45, 0)
	s.m.Shift(s.now)
	if n := s.until(100, 50, 10, 0, 0); n > 3 {
		t.Errorf("bad since its share changed: found after %d steps, %+v", n, s.last)
	}
}

func TestParams(t *testing.T) {
	odd := Params{Alpha: math.NaN(), CommonAlpha: -1, Floor: math.Inf(1), MaxBad: 7, Margin: math.NaN(), CallerShare: 9, Patience: -1}
	if got, want := odd.withDefaults(), (Params{}).withDefaults(); got != want {
		t.Errorf("%+v, want the defaults %+v", got, want)
	}
}

func FuzzObserve(f *testing.F) {
	f.Add([]byte{1, 10, 1, 10, 0, 2, 200, 200, 1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 255, 1, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		m, now := &Monitor{}, start
		p := Params{}
		if len(script) > 0 {
			p.MaxBad, p.Floor = float64(script[0])/1000, float64(script[0]%7)/100
		}
		for ; len(script) >= 6; script = script[6:] {
			size := func(b byte) uint64 { return uint64(b) << (b % 48) }
			now = now.Add(time.Duration(int8(script[0])) * time.Duration(1<<(script[1]%40)))
			at := int(script[2]) % 64
			own, control := make([]Count, 64), make([]Count, at)
			own[at] = Count{size(script[2]), size(script[3])}
			if at > 0 {
				control[at/2] = Count{size(script[4]), size(script[5])}
			}
			switch script[1] % 16 {
			case 0:
				m.Shift(now)
			case 1:
				m.Learn(own[at])
			case 2:
				text, err := json.Marshal(m)
				if err != nil || len(text) > 16<<10 {
					t.Fatalf("%d bytes, %v", len(text), err)
				}
				m = &Monitor{}
				if err := json.Unmarshal(text, m); err != nil {
					t.Fatal(err)
				}
			}
			d := m.Observe(now, own, control, p)
			if math.IsNaN(d.LogE) || math.IsInf(d.LogE, 0) || !(d.P0 > 0 && d.P0 < 1) || d.Why == "" || d.Bad > d.Requests {
				t.Fatalf("%+v", d)
			}
			absurd := own[at].Bad > own[at].Requests || at > 0 && control[at/2].Bad > control[at/2].Requests
			if absurd != (d.Verdict == Error) && absurd {
				t.Fatalf("counts that cannot be: %+v", d)
			}
		}
	})
}
