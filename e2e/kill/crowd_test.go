package kill

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/safestate/safestate/e2e/dataplane"
)

// crowd are callers that ask all the time, through every Envoy for every row: for
// quick answers, for slow ones, for some that fail at first, and for streams.
type crowd struct {
	p       *proving
	chat    *row
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	tried   atomic.Int64    // requests that have been answered
	callers []*atomic.Int64 // of each caller
	cut     atomic.Int64    // streams that ended with the event of a kill

	mu    sync.Mutex
	after time.Time // requests that began later are held against what was proven
	wrong []string  // their answers by what is killed
}

// streamsOf is how many streams each Envoy has open.
const streamsOf = 8

// newCrowd asks until the test ends or end is called.
func newCrowd(t *testing.T, p *proving) *crowd {
	t.Helper()
	c := &crowd{p: p, chat: rowOf(t, "chat")}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for _, in := range p.ingresses {
		for _, r := range p.rows {
			c.asking(in, r, "")
			c.asking(in, r, headerSlow)
			if in.retries(r) {
				c.asking(in, r, headerFail)
			}
		}
		for range streamsOf {
			c.running.Go(func() {
				for c.ctx.Err() == nil {
					c.stream(in)
				}
			})
		}
	}
	t.Cleanup(c.end)
	return c
}

func (c *crowd) end() {
	c.stop()
	c.running.Wait()
}

// asking asks for one thing after the other.
func (c *crowd) asking(in *ingress, r *row, header string) {
	own := &atomic.Int64{}
	c.callers = append(c.callers, own)
	c.running.Go(func() {
		for n := 0; c.ctx.Err() == nil; n++ {
			asks := http.Header{}
			if header != "" {
				asks.Set(header, fmt.Sprint(in.node, " ", n))
			}
			began := time.Now()
			got := in.ask(r, asks)
			c.tried.Add(1)
			own.Add(1)
			c.judge(began, in, r, got)
		}
	})
}

// judge notes an answer by what is killed.
func (c *crowd) judge(began time.Time, in *ingress, r *row, got outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.after.IsZero() && began.After(c.after) && strings.Contains(got.body, "0.75") {
		c.wrong = append(c.wrong, fmt.Sprintf("%s through %s: %+v", r.name, in.node, got))
	}
}

// judged has what begins from now on judged, and what was found forgotten.
func (c *crowd) judged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after, c.wrong = time.Now(), nil
}

// unjudged ends that, and fails the test for what was found.
func (c *crowd) unjudged(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = time.Time{}
	if n := len(c.wrong); n > 0 {
		t.Errorf("%d callers got an answer by what is killed, the first: %s", n, c.wrong[0])
	}
}

// more waits for so many more answers.
func (c *crowd) more(t *testing.T, n int) {
	t.Helper()
	want := c.tried.Load() + int64(n)
	dataplane.Eventually(t, soon+time.Duration(n)*5*time.Millisecond, "the callers go on", func() bool { return c.tried.Load() >= want })
}

// over waits until what is under way now has its answer.
func (c *crowd) over(t *testing.T) {
	t.Helper()
	for _, x := range c.callers {
		before := x.Load()
		dataplane.Eventually(t, soon, "every caller has an answer", func() bool { return x.Load() > before })
	}
}

// stream reads one to its end.
func (c *crowd) stream(in *ingress) {
	r := c.chat
	body := strings.Replace(r.request, `"model":`, `"stream":true,"model":`, 1)
	q, err := http.NewRequestWithContext(c.ctx, http.MethodPost, "http://"+in.listen+"/"+r.name+r.path, strings.NewReader(body))
	if err != nil {
		panic(err) // it is well formed
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set(headerStream, "yes")
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(q)
	if err != nil {
		return
	}
	defer func() { _ = a.Body.Close() }()
	text, _ := io.ReadAll(a.Body)
	if bytes.Contains(text, []byte("safestate_killed")) {
		c.cut.Add(1)
	}
}

// callTo is the context of a gRPC call to a row.
func callTo(r *row, header http.Header) (context.Context, context.CancelFunc) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-route", r.name)
	for name := range header {
		ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), header.Get(name))
	}
	return context.WithTimeout(ctx, soon)
}
