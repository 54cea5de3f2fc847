package ladder

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
)

func itoa(n int) string { return strconv.Itoa(n) }

// firstFrom is a cache that is asked first, with its stable version at e.
func firstFrom(e policy.Endpoint, tenants ...string) policy.Rung {
	r := cached(policy.First, tenants...)
	r.Cache.Origin = &policy.Fallback{
		Model: "default/fraud", Version: "v1", ServedName: "fraud", Protocol: policy.OpenInferenceV2,
		Endpoints: []policy.Endpoint{e}, Deadline: policy.Duration(5 * time.Second), MaxBytes: 1 << 16,
	}
	return r
}

const newAnswer = `{"id":"9","model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.75]}]}`

func TestAStaleEntryIsAskedForAnew(t *testing.T) {
	var path, body atomic.Value
	e, asked := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path.Store(r.URL.Path)
		body.Store(string(b))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, newAnswer)
	})
	s, store := newState(t)
	l, rec := newLadder(t, s, fraud(firstFrom(e)))
	keep := answered(withID(`"1"`), nil, cleanAnswer, nil)
	l.Clean(keep.Exchange, keep.Version, true)

	ask := asking(withID(`"2"`), nil)
	if a, ok := l.First(t.Context(), ask); !ok || asked.Load() != 0 {
		t.Fatalf("a fresh entry: %+v, the model asked %d times", a, asked.Load())
	}
	store.by.Store(int64(2 * time.Minute))
	a, ok := l.First(t.Context(), ask)
	if !ok || string(a.Body) != strings.Replace(cleanAnswer, `"1"`, `"2"`, 1) {
		t.Fatalf("got %q, want the old answer at once", a.Body)
	}
	ask.Exchange.Reset() // as its host does: the next caller may use it
	until(t, "the new answer to be kept", func() bool { return rec.written() == 2 })
	if path.Load() != inferPath || body.Load() != withID(`"2"`) {
		t.Errorf("asked %v for %v", path.Load(), body.Load())
	}
	store.by.Store(0)
	if a, ok := l.First(t.Context(), asking(withID(`"3"`), nil)); !ok || string(a.Body) != strings.Replace(newAnswer, `"9"`, `"3"`, 1) {
		t.Fatalf("got %q, want the new answer", a.Body)
	}
	if got := rec.looked(); !slices.Equal(got, []Lookup{LookupHit, LookupStale, LookupHit}) {
		t.Errorf("lookups %v", got)
	}
}

func TestOnlyACleanAnswerTakesTheOldOnesPlace(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"NaN":       says(200, strings.Replace(newAnswer, "0.75", "NaN", 1)),
		"500":       says(500, "boom"),
		"not JSON":  says(200, "<html>"),
		"a private": private,
	} {
		t.Run(name, func(t *testing.T) {
			e, asked := server(t, h)
			s, store := newState(t)
			l, _ := newLadder(t, s, fraud(firstFrom(e)))
			keep := answered(askBody, nil, cleanAnswer, nil)
			l.Clean(keep.Exchange, keep.Version, true)
			store.by.Store(int64(2 * time.Minute))
			for n := int64(1); n <= 2; n++ {
				a, ok := l.First(t.Context(), asking(withID(`"1"`), nil))
				if !ok || string(a.Body) != cleanAnswer {
					t.Fatalf("got %q, want the old answer", a.Body)
				}
				// The second asking shows that the first has ended.
				until(t, "the model to be asked", func() bool {
					if asked.Load() < n {
						l.First(t.Context(), asking(askBody, nil))
					}
					return asked.Load() >= n
				})
			}
		})
	}
}

func private(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "private")
	says(200, newAnswer)(w, r)
}

// A tenant's headers do not go to the origin, so it is not asked: the model
// itself is, by a request that has them.
func TestATenantsStaleEntryIsNotAskedForAsNobody(t *testing.T) {
	e, asked := server(t, says(200, newAnswer))
	s, store := newState(t)
	l, _ := newLadder(t, s, fraud(firstFrom(e, "x-tenant")))
	tenant := headers{"x-tenant": "a"}
	keep := answered(askBody, tenant, cleanAnswer, nil)
	l.Clean(keep.Exchange, keep.Version, true)
	if _, ok := l.First(t.Context(), asking(askBody, tenant)); !ok {
		t.Fatal("a fresh entry did not answer")
	}
	store.by.Store(int64(2 * time.Minute))
	if a, ok := l.First(t.Context(), asking(askBody, tenant)); ok {
		t.Fatalf("got %+v in the model's place", a)
	}
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, tenant)), Cache, "")
	if l.cache.origin != nil || asked.Load() != 0 {
		t.Error("the origin was asked without the tenant's header")
	}
}

func TestTheOriginIsAModelLikeAnyOther(t *testing.T) {
	build := func(t *testing.T, h http.HandlerFunc, change func(*policy.Policy)) (*State, func() bool, *atomic.Int64) {
		e, asked := server(t, h)
		s, _ := newState(t)
		p := fraud(firstFrom(e))
		change(p)
		l, _ := newLadder(t, s, p)
		return s, func() bool {
			x := asking(askBody, nil).Exchange
			x.Version = l.cache.origin.version
			return l.cache.origin.ask(t.Context(), x, l.detector)
		}, asked
	}
	t.Run("not while its breaker is open", func(t *testing.T) {
		s, ask, asked := build(t, says(500, "boom"), func(p *policy.Policy) {
			p.Breaker = &policy.Breaker{Failures: 1, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
		})
		if ask() || ask() || asked.Load() != 1 {
			t.Errorf("asked %d times, want once", asked.Load())
		}
		if b, ok := s.Breakers.Lookup("version/default/fraud/v1"); !ok || b.Snapshot().State != breaker.Open {
			t.Error("its failure did not count against the version")
		}
	})
	t.Run("not over its bulkhead", func(t *testing.T) {
		s, ask, asked := build(t, says(200, newAnswer), func(p *policy.Policy) { p.MaxConcurrent = 1 })
		b := s.Bulkheads.Get("default/fraud", 1)
		if !b.TryAcquire() {
			t.Fatal("no place")
		}
		if ask() || asked.Load() != 0 {
			t.Errorf("asked %d times with its place taken", asked.Load())
		}
		b.Release()
		if !ask() || b.InFlight() != 0 {
			t.Error("not asked with a free place, or the place is not given back")
		}
	})
	t.Run("by its own contract", func(t *testing.T) {
		_, ask, _ := build(t, says(200, strings.Replace(newAnswer, `"outputs"`, `"model_version":"8","outputs"`, 1)), func(p *policy.Policy) {
			p.Detect.Contract = &policy.Contract{Mode: policy.Enforce, ModelVersion: true}
			p.Versions["default/fraud/v1"] = policy.Version{Name: "v1", ReportedVersion: "7"}
		})
		if ask() {
			t.Error("an answer of another version is clean")
		}
	})
}
