package install

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// slowness is how long a request takes that says so.
const slowness = 1500 * time.Millisecond

// model scores, and takes its time where it is asked to.
type model struct {
	port int
	nan  atomic.Bool
}

func newModel(t *testing.T) *model {
	t.Helper()
	m := &model{}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.port = server.Listener.Addr().(*net.TCPAddr).Port
	return m
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Header.Get("Slow") != "" {
		select {
		case <-time.After(slowness):
		case <-r.Context().Done():
			return
		}
	}
	score := "0.25"
	if m.nan.Load() {
		score = "NaN"
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[`+score+`]}]}`)
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// infer asks a gateway for a prediction, and returns whose answer it was: "none" where
// nobody of safestate's had a look at it. What is not a score is an error.
func infer(port int, slow bool) (source string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/v2/models/fraud/infer", port),
		bytes.NewReader([]byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`)))
	if err != nil {
		return "", err
	}
	r.Host = "fraud.example.com"
	r.Header.Set("Content-Type", "application/json")
	if slow {
		r.Header.Set("Slow", "1")
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "score") {
		return "", fmt.Errorf("%d %q %v", resp.StatusCode, text, err)
	}
	source = resp.Header.Get("X-Safestate-Source")
	if source == "" {
		source = "none"
	}
	if reason := resp.Header.Get("X-Safestate-Reason"); reason != "" {
		source += " (" + reason + ")"
	}
	return source, nil
}

// load asks all the time, a twentieth of it slowly. It is safe for concurrent use.
type load struct {
	ending  chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	begun   int          // requests
	open    map[int]bool // those without an answer, by their number
	sources map[string]int
	failed  []error
}

func startLoad(t *testing.T, port int) *load {
	t.Helper()
	l := &load{ending: make(chan struct{}), open: map[int]bool{}, sources: map[string]int{}}
	l.running.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.ending:
				return
			case <-tick.C:
				l.begin(n)
				l.running.Go(func() {
					source, err := infer(port, n%20 == 0)
					l.count(n, source, err)
				})
			}
		}
	})
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) begin(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.open[n] = n+1, true
}

func (l *load) count(n int, source string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, n)
	l.sources[source]++
	if err != nil {
		l.failed = append(l.failed, err)
	}
}

// stop ends it; twice is once.
func (l *load) stop() {
	select {
	case <-l.ending:
	default:
		close(l.ending)
	}
	l.running.Wait()
}

// so is how many answers came from whom since the last time it was asked.
func (l *load) so() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.sources
	l.sources = map[string]int{}
	return out
}

// late is an answer of the proxy's own for a processor that is silent for too long. On a
// machine that is busy with other things that is one in hundreds; of a processor that is
// gone it is half of all.
const late = "safe_default (processor_away)"

// only fails the test where requests failed, or were answered by another one than was
// expected.
func (l *load) only(t *testing.T, during string, want ...string) {
	t.Helper()
	have := l.so()
	t.Logf("%s: %v", during, have)
	all := 0
	for n := range maps.Values(have) {
		all += n
	}
	if have[late]*50 < all {
		delete(have, late)
	}
	for _, w := range want {
		delete(have, w)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(have) > 0 || len(l.failed) > 0 {
		t.Errorf("%s: %v besides %v, %d failed: %v", during, have, want, len(l.failed), first(l.failed))
	}
	l.failed = nil
}

func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// over waits until every request that has begun is answered.
func (l *load) over(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	now := l.begun
	l.mu.Unlock()
	dataplane.Eventually(t, patience, "the requests of before are answered", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for n := range l.open {
			if n < now {
				return false
			}
		}
		return true
	})
}

// goesOn waits until some hundred requests more were answered.
func (l *load) goesOn(t *testing.T) {
	t.Helper()
	count := func() (n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for v := range maps.Values(l.sources) {
			n += v
		}
		return n
	}
	began := count()
	dataplane.Eventually(t, patience, "requests are answered", func() bool { return count() > began+200 })
}
