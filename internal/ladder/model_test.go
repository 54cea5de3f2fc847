package ladder

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
)

func TestTheFallbackModel(t *testing.T) {
	for name, c := range map[string]struct {
		model     http.HandlerFunc
		want      Source
		rungs     string
		detection string
	}{
		"clean":            {says(200, smallBody), Fallback, "fallback answered", ""},
		"NaN":              {says(200, smallNaN), Rules, "fallback failed, rules answered", "default/small/v7 nonfinite"},
		"another's name":   {says(200, strings.Replace(smallBody, "small", "fraud", 1)), Rules, "fallback failed, rules answered", "default/small/v7 contract_model_name"},
		"500":              {says(500, "boom"), Rules, "fallback failed, rules answered", ""},
		"429":              {says(429, ""), Rules, "fallback failed, rules answered", ""},
		"not JSON":         {says(200, "<html>"), Rules, "fallback failed, rules answered", "default/small/v7 broken_syntax"},
		"empty":            {says(200, ""), Rules, "fallback failed, rules answered", "default/small/v7 broken_empty"},
		"over its size":    {says(200, strings.Repeat(" ", 4097)), Rules, "fallback failed, rules answered", ""},
		"a redirect":       {redirects, Rules, "fallback failed, rules answered", ""},
		"cut in the midst": {cuts, Rules, "fallback failed, rules answered", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, asked := server(t, c.model)
			s, _ := newState(t)
			p := fraud(small(e), rulesRungOf(rulesBody))
			p.Detect.Contract = &policy.Contract{Mode: policy.Enforce, ModelName: true}
			l, rec := newLadder(t, s, p)
			a := l.Answer(t.Context(), asking(askBody, nil))
			if c.want == Fallback {
				wantAnswer(t, a, Fallback, smallBody)
				if a.Model != "default/small" || a.Version != "v7" || a.ContentType != "application/json" || len(a.Extra) != 0 {
					t.Errorf("got %+v", a)
				}
			} else {
				wantAnswer(t, a, c.want, rulesBody)
			}
			if got := rec.took(); got != c.rungs || asked.Load() != 1 {
				t.Errorf("rungs: %s, asked %d times; want %s, once", got, asked.Load(), c.rungs)
			}
			var want []string
			if c.detection != "" {
				want = []string{c.detection}
			}
			if !slices.Equal(rec.detections, want) {
				t.Errorf("detections %v, want %v", rec.detections, want)
			}
		})
	}
}

func redirects(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "http://example.invalid/", http.StatusTemporaryRedirect)
}

func cuts(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, smallBody)
	panic(http.ErrAbortHandler)
}

func TestABinaryAnswerOfTheFallback(t *testing.T) {
	const json = `{"model_name":"small","outputs":[{"name":"score","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}`
	for name, c := range map[string]struct {
		value float32
		want  Source
	}{"clean": {0.5, Fallback}, "NaN": {float32(math.NaN()), SafeDefault}} {
		t.Run(name, func(t *testing.T) {
			body := binary.LittleEndian.AppendUint32([]byte(json), math.Float32bits(c.value))
			e, _ := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/octet-stream")
				w.Header().Set("Inference-Header-Content-Length", itoa(len(json)))
				_, _ = w.Write(body)
			})
			s, _ := newState(t)
			l, _ := newLadder(t, s, fraud(small(e)))
			a := l.Answer(t.Context(), asking(askBody, nil))
			if a.Source != c.want {
				t.Fatalf("%s answered, want %s", a.Source, c.want)
			}
			if a.Source == Fallback && (!bytes.Equal(a.Body, body) || a.ContentType != "application/octet-stream" ||
				!slices.Equal(a.Extra, []Header{{Name: headerLength, Value: itoa(len(json))}})) {
				t.Errorf("%s %v %q", a.ContentType, a.Extra, a.Body)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := endpointOf(t, gone.Addr().String())
	_ = gone.Close()
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(small(e), rulesRungOf(rulesBody)))
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Rules, rulesBody)
	if got := rec.took(); got != "fallback failed, rules answered" {
		t.Error(got)
	}
}

func TestAHangingFallbackLeavesTimeForTheRules(t *testing.T) {
	e, _ := server(t, hangs(nil))
	s, _ := newState(t)
	own := func(f *policy.Fallback) { f.Deadline = policy.Duration(time.Minute) }
	l, rec := newLadder(t, s, fraud(small(e, own), rulesRungOf(rulesBody)))
	ask := asking(askBody, nil)
	started := time.Now()
	ask.Deadline = started.Add(time.Second)
	wantAnswer(t, l.Answer(t.Context(), ask), Rules, rulesBody)
	// The fallback's own deadline is a minute: whatever this machine's haste, the
	// request's was the one that held.
	if took := time.Since(started); took > 30*time.Second || took < 900*time.Millisecond {
		t.Errorf("answered after %s with 1s to go", took)
	}
	if got := rec.took(); got != "fallback failed, rules answered" {
		t.Error(got)
	}
}

func TestTheFallbacksBreaker(t *testing.T) {
	e, asked := server(t, says(500, "boom"))
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(small(e, withBreaker(2)), rulesRungOf(rulesBody)))
	for range 3 {
		wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Rules, rulesBody)
	}
	if got := rec.took(); asked.Load() != 2 || !strings.HasSuffix(got, "fallback skipped, rules answered") {
		t.Errorf("asked %d times (%s), want twice and then skipped", asked.Load(), got)
	}
}

func TestASecondNaNOpensTheFallbacksBreaker(t *testing.T) {
	e, asked := server(t, says(200, smallNaN))
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(small(e, withBreaker(1))))
	for range 2 {
		l.Answer(t.Context(), asking(askBody, nil))
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times, want once", asked.Load())
	}
}

// What a request says of the model and what it says of its caller.
func TestWhatTheBreakerCounts(t *testing.T) {
	for name, c := range map[string]struct {
		model http.HandlerFunc
		ask   func(*Ask)
		want  breaker.State
	}{
		"500":                   {says(500, ""), nil, breaker.Open},
		"404, our own mistake":  {says(404, ""), nil, breaker.Open},
		"401, our own mistake":  {says(401, ""), nil, breaker.Open},
		"400, the caller's":     {says(400, ""), nil, breaker.Closed},
		"413, the caller's":     {says(413, ""), nil, breaker.Closed},
		"422, the caller's":     {says(422, ""), nil, breaker.Closed},
		"too little time given": {hangs(nil), func(a *Ask) { a.Deadline = time.Now().Add(2 * time.Second) }, breaker.Closed},
		"its own time and more": {hangs(nil), nil, breaker.Open},
	} {
		t.Run(name, func(t *testing.T) {
			e, asked := server(t, c.model)
			s, _ := newState(t)
			deadline := func(f *policy.Fallback) {
				if name == "its own time and more" {
					f.Deadline = policy.Duration(2 * time.Second)
				}
			}
			l, rec := newLadder(t, s, fraud(small(e, withBreaker(1), deadline)))
			ask := asking(askBody, nil)
			if c.ask != nil {
				c.ask(ask)
			}
			wantAnswer(t, l.Answer(t.Context(), ask), SafeDefault, defaultBody)
			b, ok := s.Breakers.Lookup(BreakerKeyRung("default/small"))
			if !ok || b.Snapshot().State != c.want || asked.Load() != 1 {
				t.Errorf("the breaker is %v after %s, asked %d times; want %v after one", b.Snapshot().State, rec.took(), asked.Load(), c.want)
			}
		})
	}
}

func TestACallerWhoLeavesIsNotTheModelsFailure(t *testing.T) {
	entered := make(chan struct{})
	e, _ := server(t, hangs(entered))
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(small(e, withBreaker(1))))
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-entered
		leave()
	}()
	wantAnswer(t, l.Answer(ctx, asking(askBody, nil)), SafeDefault, defaultBody)
	b, _ := s.Breakers.Lookup(BreakerKeyRung("default/small"))
	if got := rec.took(); b.Snapshot().State != breaker.Closed || got != "fallback failed, safe_default answered" {
		t.Errorf("the breaker is %v after %s", b.Snapshot().State, got)
	}
}

func TestTheFallbacksBulkhead(t *testing.T) {
	entered, open := make(chan struct{}), make(chan struct{})
	e, asked := server(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-open
		says(200, smallBody)(w, r)
	})
	s, _ := newState(t)
	one := func(f *policy.Fallback) { f.MaxConcurrent = 1 }
	l, rec := newLadder(t, s, fraud(small(e, one), rulesRungOf(rulesBody)))
	first := make(chan Answer)
	go func() { first <- l.Answer(t.Context(), asking(askBody, nil)) }()
	<-entered
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Rules, rulesBody)
	if got := rec.took(); got != "fallback skipped, rules answered" || asked.Load() != 1 {
		t.Errorf("%s, asked %d times", got, asked.Load())
	}
	close(open)
	wantAnswer(t, <-first, Fallback, smallBody)
	go func() { <-entered }()
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Fallback, smallBody)
}
