package kill

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The headers by which a request tells the model what to do.
const (
	headerSlow   = "X-Slow"
	headerFail   = "X-Fail" // names the request, which fails the first few times
	headerStream = "X-Stream"
)

// failures is how often a request fails.
const failures = 12

// slowly is how long a slow answer takes.
const slowly = 700 * time.Millisecond

// target is a model that knows when it was asked last, and what it is busy with.
type target struct {
	*model
	last    atomic.Int64 // ns since 1970
	slow    atomic.Int64 // requests that it works on
	streams atomic.Int64 // that are open
	failed  atomic.Int64 // requests that it refused
	tries   sync.Map     // by headerFail: how often it came
	silent  atomic.Bool  // streams say nothing more, and do not end
}

func startTarget(t testing.TB, answer string) *target {
	t.Helper()
	x := &target{model: startModel(t, answer)}
	x.hold.Store(x.serve)
	return x
}

func (x *target) serve(w http.ResponseWriter, r *http.Request) {
	x.last.Store(max(time.Now().UnixNano(), x.last.Load()))
	switch h := r.Header; {
	case x.fails(h.Get(headerFail)):
		x.failed.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case h.Get(headerStream) != "":
		x.stream(w, r)
		return
	case h.Get(headerSlow) != "":
		x.slow.Add(1)
		defer x.slow.Add(-1)
		timer := time.NewTimer(slowly)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		x.call(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, x.answer)
}

// fails reports whether a request of that name is to fail.
func (x *target) fails(name string) bool {
	if name == "" {
		return false
	}
	before, _ := x.tries.LoadOrStore(name, new(atomic.Int64))
	n, _ := before.(*atomic.Int64)
	return n.Add(1) <= failures
}

// stream says something every now and then, until its caller goes.
func (x *target) stream(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	x.streams.Add(1)
	defer x.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if x.silent.Load() {
			<-r.Context().Done()
			return
		}
		if _, err := io.WriteString(w, `data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`+"\n\n"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush() // the next write says it
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
