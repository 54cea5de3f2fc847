package kill

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/kill"
)

// patient has every route that leads to a model try again, and wait before it does.
func patient(r *envoy.Resources) {
	for _, rc := range r.Routes {
		for _, vh := range rc.VirtualHosts {
			for _, rt := range vh.Routes {
				if action := rt.GetRoute(); action != nil {
					action.RetryPolicy = &routev3.RetryPolicy{
						RetryOn: "5xx,reset,connect-failure,unavailable", NumRetries: wrapperspb.UInt32(5),
						RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(10 * time.Millisecond), MaxInterval: durationpb.New(50 * time.Millisecond)},
					}
				}
			}
		}
	}
}

// TestRetries: a request that is in flight at the kill, fails, and is tried again
// by Envoy finds nobody, however the model is reached; and connections are closed.
// What waits for one of few connections is in flight too: Envoy sends it yet, and
// its counters say that it is under way until it has been.
func TestRetries(t *testing.T) {
	plain, overGRPC := rowOf(t, "plain"), rowOf(t, "plain-grpc")
	for name, c := range map[string]struct {
		row   *row
		x     extra
		queue bool // some wait for a connection
	}{
		"static":               {plain, extra{}, false},
		"by DNS":               {plain, extra{address: "localhost"}, false},
		"health checked":       {plain, extra{model: "healthCheck: {path: /health, interval: 1s, timeout: 10s}"}, false},
		"with outliers":        {plain, extra{model: "outlierDetection: {consecutive5xx: 1}"}, false},
		"gRPC":                 {overGRPC, extra{}, false},
		"gRPC by DNS":          {overGRPC, extra{address: "localhost"}, false},
		"two versions":         {plain, extra{weights: [2]int{50, 50}}, false},
		"with few connections": {plain, extra{model: "limits: {maxConnections: 4}"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := versions{startModel(t, c.row.live), startModel(t, c.row.live)}
			s := newStand(t, compiled(t, c.row.objects(v, c.x)), patient)
			s.live(c.row, v)

			// Envoy lets a worker without a connection have one beyond the limit: of ten
			// at four connections some wait however they are spread.
			const inFlight = 10
			var arrived atomic.Int64
			let := make(chan struct{})
			hold := func(_ http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					return // a health check
				}
				_, _ = io.Copy(io.Discard, r.Body)
				arrived.Add(1)
				<-let
				panic(http.ErrAbortHandler)
			}
			for _, m := range v {
				m.hold.Store(hold)
			}
			var callers sync.WaitGroup
			for range inFlight {
				callers.Go(func() { s.quietly(c.row) })
			}
			var queued int64
			dataplane.Eventually(t, soon, "all are in flight", func() bool {
				queued = s.waiting(c.row)
				// A request whose connection is being made waits too, and not for long.
				connected := !c.queue || s.gauge(c.row, "upstream_cx_active$") == arrived.Load()
				return connected && arrived.Load()+queued == inFlight && (queued > 0) == c.queue
			})
			target := kill.ForModel("default/" + c.row.name)
			s.kill(target, kill.Blackhole)
			s.emptied(c.row)
			dataplane.Eventually(t, soon, "nothing is connected but what is in flight", func() bool { return int64(v[0].open()+v[1].open()) <= arrived.Load() })
			before := v.asked()
			if n := s.underWay(c.row); n != inFlight {
				t.Errorf("Envoy counts %d requests under way, want %d", n, inFlight)
			}
			close(let)
			callers.Wait()
			if n := v.asked() - before; n != queued {
				t.Errorf("%d requests reached the model, %d had waited for a connection", n, queued)
			}
			dataplane.Eventually(t, soon, "no connection to the model is left", func() bool { return v[0].open()+v[1].open() == 0 })
			dataplane.Eventually(t, soon, "Envoy counts no request under way", func() bool { return s.underWay(c.row) == 0 })
			for _, m := range v {
				m.hold.Store((func(http.ResponseWriter, *http.Request))(nil))
			}
			s.revive(target)
			s.live(c.row, v)
		})
	}
}

func rowOf(t *testing.T, name string) *row {
	t.Helper()
	for i := range rows {
		if rows[i].name == name {
			return &rows[i]
		}
	}
	t.Fatalf("there is no row %s", name)
	return nil
}

// quietly asks once, whatever comes of it.
func (s *stand) quietly(r *row) {
	if r.lastRung == "" {
		s.http.Do(dataplane.Request{Path: "/" + r.name + r.path, Body: []byte(r.request)})
		return
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-route", r.name), soon)
	defer cancel()
	s.grpc.Infer(ctx, clients.Message{Model: "m"})
}

// underWay counts the requests to a row's versions that Envoy has not seen the end
// of, those that wait for a connection among them.
func (s *stand) underWay(r *row) int64 { return s.gauge(r, "upstream_rq_(pending_)?active$") }

// waiting counts those of them that wait for a connection.
func (s *stand) waiting(r *row) int64 { return s.gauge(r, "upstream_rq_pending_active$") }

// gauge sums what Envoy says of a row's versions under names of a pattern.
func (s *stand) gauge(r *row, names string) (sum int64) {
	s.t.Helper()
	for line := range strings.Lines(dataplane.Get("http://" + s.options.Admin + "/stats?filter=" + names)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && strings.HasPrefix(name, "cluster.default/"+r.name+"/") {
			sum += n
		}
	}
	return sum
}

// emptied waits until Envoy knows no endpoint of a row's versions.
func (s *stand) emptied(r *row) {
	s.t.Helper()
	dataplane.Eventually(s.t, soon, "the clusters are empty", func() bool {
		return s.endpoints(r) == 0
	})
}
