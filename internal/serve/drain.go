package serve

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/safestate/safestate/internal/compile"
)

// lastWords is how long a shutdown waits for the proxies to take the last piece
// of the streams that it ends.
const lastWords = 2 * time.Second

// drain takes no new requests and waits for those in flight; what is left after
// that ends with an answer of the ladder, or where it has begun to flow with an
// error event: never in silence.
func (p *process) drain(g *grpc.Server, checks *health.Server, servers ...*http.Server) {
	p.draining.Store(true)
	checks.Shutdown() // not serving, to whoever asks
	atMost := p.drainTime()
	p.log.Info().Dur("at_most", atMost).Msg("draining")
	if p.plane != nil {
		p.plane.leave()
	}
	if p.host != nil {
		p.host.processor.Leave()
	}
	done := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(done)
	}()
	if !within(atMost, done) {
		if p.host != nil {
			p.host.processor.EndStreams()
		}
		if !within(lastWords, done) {
			g.Stop()
			<-done
		}
	}
	for _, s := range servers {
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // whoever is still there has been told
		}
		cancel()
	}
}

// drainTime is how long a shutdown waits: as long as it was told to, or as long
// as the longest stream that a policy allows.
func (p *process) drainTime() time.Duration {
	if p.options.Drain > 0 {
		return p.options.Drain
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(DefaultDrain, p.longest+time.Second)
}

// longestStream returns the longest that an answer of s may take.
func longestStream(s *compile.Snapshot) time.Duration {
	var longest time.Duration
	for _, r := range s.Judged() {
		longest = max(longest, r.Policy.Deadline.D())
		if r.Policy.Stream != nil {
			longest = max(longest, r.Policy.Stream.MaxDuration.D())
		}
	}
	return longest
}

func within(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
