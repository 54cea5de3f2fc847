package refresh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/safestate/safestate/internal/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func every(d time.Duration) policy.Refresh {
	return policy.Refresh{File: "popular.json", Interval: policy.Duration(d)}
}

// fake is a source whose content a test sets; every reading is counted.
type fake struct {
	content atomic.Pointer[string]
	reads   atomic.Int64
}

var errAway = errors.New("away")

func (f *fake) set(s string) { f.content.Store(&s) }
func (f *fake) break_()      { f.content.Store(nil) }
func (f *fake) load(context.Context) ([]byte, error) {
	f.reads.Add(1)
	if s := f.content.Load(); s != nil {
		return []byte(*s), nil
	}
	return nil, errAway
}

func withFake(t *testing.T, f *fake) *Registry {
	t.Helper()
	r := NewRegistry(t.Context(), Options{})
	r.load = func(policy.Refresh) (loader, error) { return f.load, nil }
	return r
}

func isJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte("{")) {
		return errors.New("not an object")
	}
	return nil
}

func want(t *testing.T, b *Body, body string) {
	t.Helper()
	got, ok := b.Get()
	if string(got) != body || ok != (body != "") {
		t.Helper()
		t.Errorf("body %q (%v), want %q", got, ok, body)
	}
}

func TestKeepsTheLastGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fake
		r := withFake(t, &f)
		defer r.Close()
		b, release, err := r.Acquire(every(time.Second), isJSON)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		steps := []struct {
			name     string
			content  string // empty: away
			body     string
			failures uint64
			problem  string
		}{
			{"never read", "", "", 1, "away"},
			{"good", `{"a":1}`, `{"a":1}`, 1, ""},
			{"away", "", `{"a":1}`, 2, "away"},
			{"not valid", `oops`, `{"a":1}`, 3, "not a valid body: not an object"},
			{"still not", `oops`, `{"a":1}`, 4, "not a valid body: not an object"},
			{"good again", `{"a":2}`, `{"a":2}`, 4, ""},
			{"the same", `{"a":2}`, `{"a":2}`, 4, ""},
		}
		for i, s := range steps {
			if i > 0 {
				time.Sleep(time.Second)
			}
			synctest.Wait()
			want(t, b, s.body)
			st := b.Stats()
			if st.Failures != s.failures || st.Problem != s.problem {
				t.Errorf("%s: %d failures, problem %q; want %d, %q", s.name, st.Failures, st.Problem, s.failures, s.problem)
			}
			if i+1 < len(steps) {
				if c := steps[i+1].content; c != "" {
					f.set(c)
				} else {
					f.break_()
				}
			}
		}
		if n := f.reads.Load(); n != int64(len(steps)) {
			t.Errorf("%d reads in %d seconds", n, len(steps))
		}
	})
}

func TestSharedSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fake
		f.set("[1]")
		r := withFake(t, &f)
		defer r.Close()
		slow, releaseSlow, _ := r.Acquire(every(time.Minute), nil)
		synctest.Wait()
		fast, releaseFast, _ := r.Acquire(every(time.Second), isJSON)
		want(t, slow, "[1]")
		want(t, fast, "") // read already, and not valid for this one
		if s := fast.Stats(); s.Failures != 1 {
			t.Errorf("%d failures, want 1", s.Failures)
		}
		f.set("{}")
		time.Sleep(10*time.Second + 500*time.Millisecond)
		want(t, slow, "{}")
		want(t, fast, "{}")
		if n := f.reads.Load(); n != 11 {
			t.Errorf("%d reads in 10 s at the shorter interval, want 11", n)
		}
		late, releaseLate, _ := r.Acquire(every(time.Second), isJSON)
		want(t, late, "{}") // at once
		releaseLate()
		releaseFast()
		releaseFast()
		before := f.reads.Load()
		time.Sleep(10 * time.Second)
		if n := f.reads.Load(); n != before {
			t.Errorf("%d reads at the interval of one who has left", n-before)
		}
		releaseSlow()
		time.Sleep(time.Hour)
		if n := f.reads.Load(); n != before {
			t.Errorf("%d reads for nobody", n-before)
		}
		if len(r.sources) != 0 {
			t.Error("the source is still kept")
		}
		want(t, slow, "{}")
	})
}

func TestStopsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := NewRegistry(ctx, Options{})
		r.load = func(policy.Refresh) (loader, error) {
			return func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, nil
		}
		b, release, _ := r.Acquire(every(time.Second), nil)
		defer release()
		synctest.Wait()
		cancel()
		r.Close()
		if s := b.Stats(); s.Failures != 0 {
			t.Error("being stopped counted as a failure")
		}
	})
}

func TestHangingSourceTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(t.Context(), Options{Timeout: 3 * time.Second})
		defer r.Close()
		r.load = func(policy.Refresh) (loader, error) {
			return func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, nil
		}
		b, release, _ := r.Acquire(every(time.Second), nil)
		defer release()
		time.Sleep(10 * time.Second)
		if s := b.Stats(); s.Failures != 3 {
			t.Errorf("%d failures in 10 s of 3 s timeouts, want 3", s.Failures)
		}
	})
}

func TestAcquireRefuses(t *testing.T) {
	r := NewRegistry(t.Context(), Options{})
	defer r.Close()
	for _, cfg := range []policy.Refresh{
		{}, {File: "a", URL: "http://h/"}, {URL: "ftp://h/x"}, {URL: "http:///x"}, {URL: "://"},
	} {
		if _, _, err := r.Acquire(cfg, nil); !errors.Is(err, ErrSource) {
			t.Errorf("%+v: %v, want %v", cfg, err, ErrSource)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, bytes.Repeat([]byte("x"), n), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, path string
		size       int
		err        error
	}{
		{"fits", write("fits", 100), 100, nil},
		{"too large", write("large", 101), 0, ErrTooLarge},
		{"missing", filepath.Join(dir, "none"), 0, os.ErrNotExist},
		{"a folder", dir, 0, errNoFile},
		{"a pipe", pipe, 0, errNoFile},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := readFile("", c.path, 100)
			if len(got) != c.size || !errors.Is(err, c.err) {
				t.Errorf("%d bytes, %v; want %d, %v", len(got), err, c.size, c.err)
			}
		})
	}
}

func TestReadURL(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 101)) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		fmt.Fprint(w, "{}")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	client := newClient()
	for path, problem := range map[string]string{
		"/ok": "", "/large": "over the size limit", "/broken": "status 500", "/elsewhere": "status 302", "/cut": "unexpected EOF",
	} {
		body, err := readURL(t.Context(), client, s.URL+path, 100)
		if problem == "" {
			if err != nil || string(body) != "{}" {
				t.Errorf("%s: %q, %v", path, body, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q in it", path, err, problem)
		}
	}
	_, err := readURL(t.Context(), client, "http://user:secret@127.0.0.1:1/x", 100)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error of a refused connection is %v", err)
	}
	if n := nameOf(policy.Refresh{URL: "http://user:secret@h/x"}); strings.Contains(n, "secret") {
		t.Errorf("named %s", n)
	}
}

// TestRealFile goes the whole way once, with a file that changes.
func TestRealFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "popular.json")
	results := make(chan error)
	r := NewRegistry(t.Context(), Options{OnResult: func(source string, err error) {
		if source != path {
			t.Errorf("told of %s", source)
		}
		select {
		case results <- err:
		case <-t.Context().Done():
		}
	}})
	b, release, err := r.Acquire(policy.Refresh{File: path, Interval: policy.Duration(time.Millisecond)}, isJSON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(); r.Close() })
	if err := <-results; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("told %v, want that there is no file", err)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{}")
	for err := range results {
		if err == nil {
			break
		}
	}
	want(t, b, "{}")
	write("oops")
	for err := range results {
		if err != nil && strings.Contains(err.Error(), "not an object") {
			break
		}
	}
	want(t, b, "{}")
}
