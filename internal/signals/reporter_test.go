package signals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/verdict"
)

// reporting begins a reporter over a wire.
func reporting(t *testing.T, o ReporterOptions) (*Reporter, *wire) {
	t.Helper()
	w := &wire{}
	o.Links = append(o.Links, w.link)
	r := NewReporter(o)
	t.Cleanup(r.Close)
	return r, w
}

func TestWhenReportsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := reporting(t, ReporterOptions{Name: "h"})
		row, quiet := r.Row("n", "r", "m", "v1"), r.Row("n", "r", "m", "v2")
		quiet.Asked(time.Now())
		time.Sleep(reportEvery)
		w.stream().hang <- errors.New("gone")
		time.Sleep(backoffBase)
		got, _ := w.stream().got()
		if len(got) != 1 || len(got[0].Counts) != 2 || !got[0].BreakersKnown {
			t.Fatalf("the first report is %v", got)
		}
		time.Sleep(5*time.Second - reportEvery/2)
		got, _ = w.stream().got()
		if n := len(got) - 1; n < 4 || n > 5 {
			t.Errorf("%d signs of life in five seconds", n)
		}
		for i, m := range got[1:] {
			if len(m.Counts) > 0 || m.BreakersKnown || m.Ends || m.Sequence <= got[i].Sequence {
				t.Errorf("a sign of life says %v", m)
			}
		}
		before, began := len(got), time.Now()
		for range 1000 {
			row.Clean(0, 0)
			time.Sleep(time.Millisecond)
		}
		got, at := w.stream().got()
		if n := len(got) - before; n < 9 || n > 11 {
			t.Errorf("%d reports in a second of news, want one in 100 ms", n)
		}
		for i, m := range got[before:] {
			if len(m.Counts) != 1 || m.Counts[0].Version != "v1" || m.Sequence != got[before+i-1].Sequence+1 {
				t.Errorf("report %d has %v", i+1, m)
			}
		}
		if first := at[before].Sub(began); first > 101*time.Millisecond {
			t.Errorf("the first came after %s", first)
		}
		before = len(got)
		time.Sleep(wholeEvery)
		got, _ = w.stream().got()
		if !slices.ContainsFunc(got[before:], func(m *signalsv1.Report) bool { return len(m.Counts) == 2 }) {
			t.Errorf("no whole report in %s", wholeEvery)
		}
	})
}

// TestBadGoesAtOnce: the first bad answer after a second without is on its way
// within 10 ms, together with those beside it.
func TestBadGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := reporting(t, ReporterOptions{})
		rows := []*Row{r.Row("a", "r", "m", "v1"), r.Row("b", "r", "m", "v1")}
		synctest.Wait()
		time.Sleep(1030 * time.Millisecond) // between two ticks
		for _, c := range []struct {
			name   string
			pause  time.Duration
			atOnce bool
		}{
			{"the first", 0, true},
			{"half a second later", 530 * time.Millisecond, false},
			{"a second after that", 1030 * time.Millisecond, true},
		} {
			time.Sleep(c.pause)
			before, _ := w.stream().got()
			began := time.Now()
			rows[0].Bad(verdict.NonFinite, 0, 0)
			time.Sleep(time.Millisecond)
			rows[1].Bad(verdict.NonFinite, 0, 0)
			time.Sleep(9 * time.Millisecond)
			synctest.Wait()
			after, at := w.stream().got()
			if came := len(after) > len(before); came != c.atOnce {
				t.Errorf("%s: came at once: %v", c.name, came)
			}
			if c.atOnce && (len(after) != len(before)+1 || len(after[len(after)-1].Counts) != 2) {
				t.Errorf("%s: %d reports after %s, want one of both", c.name, len(after)-len(before), at[len(at)-1].Sub(began))
			}
		}
	})
}

func TestSpell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := reporting(t, ReporterOptions{})
		row := r.Row("n", "r", "m", "v1")
		begin := time.Now().UnixNano()
		for range 5 {
			row.Bad(verdict.Late, 0, 0)
			time.Sleep(spell - time.Millisecond)
		}
		if c := row.message(); c.FirstBad != uint64(begin) || c.LastBad != uint64(begin+4*int64(spell-time.Millisecond)) {
			t.Errorf("first bad %d, last bad %d", c.FirstBad, c.LastBad)
		}
		time.Sleep(time.Millisecond)
		row.Bad(verdict.Late, 0, 0)
		if c := row.message(); c.FirstBad != c.LastBad {
			t.Error("a bad answer after a second without is the first of its spell")
		}
	})
}

func TestCloseSaysTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		r := NewReporter(ReporterOptions{Links: []Link{h.Link()}})
		time.Sleep(time.Second)
		r.Row("n", "default/r/0", "default/m", "v1").Asked(time.Now())
		began := time.Now()
		r.Close()
		if got := totals(h); got != "v1 1 0 0" || time.Since(began) > 0 {
			t.Errorf("totals %q after %s", got, time.Since(began))
		}
		r.Close()
	})
}

func TestCloseIsBounded(t *testing.T) {
	for name, change := range map[string]func(*wire){
		"it does not read":        func(w *wire) { w.deaf = true },
		"it does not acknowledge": func(w *wire) { w.mute = true },
		"it is away":              func(w *wire) { w.refuse = errors.New("away") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := reporting(t, ReporterOptions{})
				synctest.Wait()
				w.set(change)
				r.Row("n", "r", "m", "v1").Bad(verdict.Late, 0, 0)
				time.Sleep(time.Second)
				began := time.Now()
				r.Close()
				if took := time.Since(began); took > lastWords {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// TestLastAttempt: what was counted while the control plane was away is said if
// it is back by then.
func TestLastAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := reporting(t, ReporterOptions{})
		w.set(func(w *wire) { w.refuse = errors.New("away") })
		synctest.Wait()
		if s := w.stream(); s != nil {
			s.hang <- errors.New("gone")
		}
		time.Sleep(time.Minute)
		r.Row("n", "r", "m", "v1").Asked(time.Now())
		w.set(func(w *wire) { w.refuse = nil })
		before := w.stream()
		r.Close()
		if s := w.stream(); s == before {
			t.Error("no last attempt")
		} else if got, _ := s.got(); len(got) == 0 || got[0].Counts[0].Asked != 1 {
			t.Errorf("the last words are %v", got)
		}
	})
}

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said notes
		r, w := reporting(t, ReporterOptions{OnLink: said.note})
		row := r.Row("n", "r", "m", "v1")
		time.Sleep(10 * time.Second)
		away := errors.New("away")
		w.set(func(w *wire) { w.refuse, w.tries = away, nil })
		began := time.Now()
		w.stream().hang <- away
		row.Asked(time.Now())
		time.Sleep(time.Hour)
		w.set(func(w *wire) {
			least := time.Hour / backoffMost
			if n := len(w.tries); n < int(least) || n > 3*int(least) {
				t.Errorf("%d attempts in an hour, want one in about %s", n, backoffMost/2)
			}
			for i, at := range w.tries[1:] {
				if pause := at.Sub(w.tries[i]); pause > backoffMost {
					t.Errorf("a pause of %s", pause)
				}
			}
			if first := w.tries[0].Sub(began); first > backoffBase {
				t.Errorf("the first attempt after %s", first)
			}
			w.refuse = nil
		})
		time.Sleep(backoffMost)
		got, _ := w.stream().got()
		if len(got) == 0 || len(got[0].Counts) != 1 || got[0].Counts[0].Asked != 1 {
			t.Errorf("the first report of the new stream is %v", got)
		}
		if !said.has(nil) || !said.has(away) {
			t.Errorf("said %v", said.list())
		}
	})
}

func TestPause(t *testing.T) {
	for _, c := range []struct {
		failures int
		most     time.Duration
	}{{0, 100 * time.Millisecond}, {1, 200 * time.Millisecond}, {5, 3200 * time.Millisecond}, {6, backoffMost}, {9, backoffMost}, {1 << 40, backoffMost}} {
		if got := pause(c.failures, 1); got != c.most {
			t.Errorf("after %d failures up to %s, want %s", c.failures, got, c.most)
		}
		if got := pause(c.failures, 0); got != 0 {
			t.Errorf("at least %s: not the whole of it is random", got)
		}
	}
}

// TestControlPlaneThatHangs costs the counting nothing, and is left for another
// attempt.
func TestControlPlaneThatHangs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*wire)
		within time.Duration
		says   error
	}{
		{"it does not read", func(w *wire) { w.deaf = true }, stuckAfter + time.Second, nil},
		{"it does not acknowledge", func(w *wire) { w.mute = true }, silentAfter + time.Second, errSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said notes
				r, w := reporting(t, ReporterOptions{OnLink: said.note})
				row := r.Row("n", "r", "m", "v1")
				synctest.Wait()
				w.set(func(w *wire) { c.change(w); w.tries = nil })
				began := time.Now()
				for range 1000 {
					row.Asked(time.Now())
					row.Bad(verdict.Late, 0, 0)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("counting waited for %s", took)
				}
				time.Sleep(c.within)
				w.set(func(w *wire) {
					if len(w.tries) == 0 {
						t.Error("no other attempt")
					}
					w.deaf, w.mute = false, false
				})
				if c.says != nil && !said.has(c.says) {
					t.Errorf("said %v", said.list())
				}
			})
		})
	}
}

// TestDirectives: the control plane opens breakers of versions that the host has,
// for no longer than their own recovery time.
func TestDirectives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := breaker.NewSet(nil, nil)
		recovery := policy.Breaker{Recovery: policy.Duration(10 * time.Second)}
		key := breaker.VersionKey("default/m", "v1")
		own, rung := set.Get(key, recovery), set.Get("rung/default/m", recovery)
		_, w := reporting(t, ReporterOptions{Breakers: set})
		synctest.Wait()
		w.stream().back <- &signalsv1.Directive{Open: []*signalsv1.OpenBreaker{
			{Key: "version/none", Milliseconds: 1}, {Key: "rung/default/m", Milliseconds: 1000}, {Key: key},
		}}
		synctest.Wait()
		if own.State() != breaker.Closed || rung.State() != breaker.Closed {
			t.Fatal("opened what it must not")
		}
		w.stream().back <- &signalsv1.Directive{Open: []*signalsv1.OpenBreaker{{Key: key, Milliseconds: 1 << 63}}}
		synctest.Wait()
		if own.State() != breaker.Open {
			t.Fatal("not opened")
		}
		time.Sleep(breakersEvery + reportEvery)
		got, _ := w.stream().got()
		last := got[len(got)-1]
		if !last.BreakersKnown || len(last.Breakers) != 1 || last.Breakers[0].Key != key || last.Breakers[0].State != stateOpen {
			t.Errorf("reported %v", last)
		}
		time.Sleep(10 * time.Second)
		p, ok := own.Allow()
		if !ok {
			t.Error("open for longer than its recovery time")
		}
		for range breaker.DefaultHalfOpenRequests {
			p.Done(breaker.Success, 0)
			p, _ = own.Allow()
		}
		time.Sleep(breakersEvery + reportEvery)
		got, _ = w.stream().got()
		if last := got[len(got)-1]; !last.BreakersKnown || len(last.Breakers) != 0 {
			t.Errorf("reported %v of a closed breaker", last)
		}
	})
}

// TestAControlPlaneThatDiesIsFoundWithoutTraffic: its machine has lost its power,
// and the host has nothing to report.
func TestAControlPlaneThatDiesIsFoundWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := reporting(t, ReporterOptions{})
		time.Sleep(time.Minute)
		w.set(func(w *wire) { w.mute, w.tries = true, nil })
		time.Sleep(5 * time.Second)
		w.set(func(w *wire) {
			if len(w.tries) == 0 {
				t.Error("no other attempt")
			}
		})
	})
}

// TestAnAttemptThatIsNotAnsweredIsAFailure, however long it takes: the pauses grow.
func TestAnAttemptThatIsNotAnsweredIsAFailure(t *testing.T) {
	for _, answered := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			tries := 0
			keep(ctx, nil, func(error) {}, func(context.Context) (bool, error) {
				tries++
				time.Sleep(steady + time.Millisecond)
				return answered, errSilent
			})
			// The pauses are 2.5 s or 0.05 s in the mean.
			if few := tries < 600; few == answered {
				t.Errorf("%d attempts of five seconds in an hour, answered: %v", tries, answered)
			}
		})
	}
}

// TestTheMachinesClockIsSet: what a reporter says of times goes by the clock that
// it began with.
func TestTheMachinesClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		time.Sleep(time.Minute)
		r := NewReporter(ReporterOptions{})
		defer r.Close()
		r.wall += int64(time.Hour) // and then it was set back
		time.Sleep(time.Minute)
		row := r.Row("n", "r", "m", "v1")
		row.Asked(time.Now())
		for range 3 {
			row.Bad(verdict.Late, 0, 0)
		}
		asked := time.Now()
		time.Sleep(time.Second)
		reports := must(r.reports(time.Now(), 0, true))
		if after := reports[0].Counts[0].LastAsked - reports[0].Epoch; after != uint64(time.Minute) {
			t.Errorf("asked %s after the reporter began, want a minute", time.Duration(after))
		}
		deliver(t, h, reports...)
		got := h.Take(time.Now())
		if len(got) != 1 || got[0].Bad != 3 || !got[0].LastAsked.Equal(asked) || !got[0].FirstBad.Equal(asked) || !got[0].LastBad.Equal(asked) {
			t.Errorf("took %+v, want it as it was at %s", got, asked)
		}
	})
}

// TestCloseSaysThatItIsTheEnd: nobody waits for a host that has gone.
func TestCloseSaysThatItIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		r := NewReporter(ReporterOptions{Links: []Link{h.Link()}})
		r.Row("n", "default/r/0", "default/m", "v1").Asked(time.Now())
		time.Sleep(time.Second)
		if hosts, _ := h.Hosts(Version{"default/m", "v1"}); len(hosts) != 1 || hosts[0].Name != r.Name() {
			t.Errorf("hosts %v", hosts)
		}
		r.Close()
		if hosts, _ := h.Hosts(Version{"default/m", "v1"}); len(hosts) != 0 {
			t.Errorf("hosts %v after its end", hosts)
		}
	})
}

func TestRefusedReportsAreSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said notes
		_, w := reporting(t, ReporterOptions{OnLink: said.note})
		synctest.Wait()
		for range 5 {
			w.stream().back <- &signalsv1.Directive{Refused: "no"}
		}
		synctest.Wait()
		n := 0
		for _, err := range said.list() {
			if errors.Is(err, errRefused) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("said %v, want it once", said.list())
		}
	})
}

func TestManyRowsGoInSeveralReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		r := NewReporter(ReporterOptions{Links: []Link{h.Link()}})
		for i := range 1000 {
			r.Row(fmt.Sprint("n", i), "r", "m", "v1").Asked(time.Now())
		}
		time.Sleep(time.Second)
		if got := totals(h); got != "v1 1000 0 0" {
			t.Errorf("totals %s", got)
		}
		if s := h.Stats(); s.Rows != 1000 || s.Refused != 0 {
			t.Errorf("%+v", s)
		}
		r.Close()
	})
}

// TestTwoLinks: each control plane gets everything, and one that gets it over both
// counts it once.
func TestTwoLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		r, w := reporting(t, ReporterOptions{Links: []Link{h.Link(), h.Link()}})
		row := r.Row("n", "default/r/0", "default/m", "v1")
		for i := range 500 {
			row.Asked(time.Now())
			row.Clean(0, Place(i))
			time.Sleep(7 * time.Millisecond)
		}
		time.Sleep(reportEvery)
		if got := totals(h); got != "v1 500 500 0" {
			t.Errorf("totals %s", got)
		}
		got, _ := w.stream().got()
		if last := got[len(got)-1]; last.Counts[0].Asked != 500 {
			t.Errorf("the other link says %v", last)
		}
		if s := h.Stats(); s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	})
}
