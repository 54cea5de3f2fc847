package readiness

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

func endpoint(t *testing.T, address string) policy.Endpoint {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Endpoint{Address: host, Port: n}
}

func nobody(t *testing.T) policy.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return endpoint(t, l.Addr().String())
}

func says(t *testing.T, p *Prober, clusters []string, want *bool) {
	t.Helper()
	said(t, p.Ready(clusters, []string{"open", "checked"}, time.Time{}, time.Now()), want, "%v", clusters)
}

func said(t *testing.T, got, want *bool, about string, args ...any) {
	t.Helper()
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		t.Errorf(about+": %v, want %v", append(args, word(got), word(want))...)
	}
}

func word(b *bool) string {
	if b == nil {
		return "unknown"
	}
	return strconv.FormatBool(*b)
}

func TestReady(t *testing.T) {
	yes, no := true, false
	var status atomic.Int32
	status.Store(200)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	here := endpoint(t, server.Listener.Addr().String())
	check := &compile.HealthCheck{Path: "/ready"}

	changes := 0
	p := New(func() { changes++ })
	p.Watch([]compile.Cluster{
		{Name: "open", Endpoints: []policy.Endpoint{nobody(t), here}},
		{Name: "closed", Endpoints: []policy.Endpoint{nobody(t)}},
		{Name: "checked", Endpoints: []policy.Endpoint{here}, HealthCheck: check},
		{Name: "secured", Endpoints: []policy.Endpoint{here}, HealthCheck: check, TLS: &policy.TLS{}},
	})
	says(t, p, []string{"open"}, nil)

	p.round(t.Context())
	says(t, p, []string{"open"}, &yes)
	says(t, p, []string{"closed"}, &no)
	says(t, p, []string{"closed", "open"}, &yes)
	says(t, p, []string{"open", "closed"}, &yes)
	says(t, p, []string{"checked"}, &yes)
	says(t, p, []string{"secured"}, &yes)
	says(t, p, []string{"unknown"}, nil)
	says(t, p, nil, nil)
	if changes != 0 {
		t.Errorf("%d changes by the first answers", changes)
	}

	status.Store(503)
	p.round(t.Context())
	says(t, p, []string{"checked"}, &no)
	if changes != 1 {
		t.Errorf("%d changes, want the one of the check", changes)
	}

	p.Watch([]compile.Cluster{{Name: "open", Endpoints: []policy.Endpoint{here}}})
	says(t, p, []string{"checked"}, nil)
}

// A version that just gave a clean answer is ready, whatever is seen from here.
func TestAnAnswerSaysMoreThanAProbe(t *testing.T) {
	yes, no := true, false
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	p := New(nil)
	p.Watch([]compile.Cluster{
		{Name: "v1", Endpoints: []policy.Endpoint{nobody(t)}},
		{Name: "v2", Endpoints: []policy.Endpoint{endpoint(t, server.Listener.Addr().String())}},
	})
	p.round(t.Context())
	now, model := time.Now(), []string{"v1", "v2"}
	for _, c := range []struct {
		answered time.Time
		want     *bool
	}{{time.Time{}, &no}, {now, &yes}, {now.Add(1 - Served), &yes}, {now.Add(-Served), &no}} {
		said(t, p.Ready([]string{"v1"}, model, c.answered, now), c.want, "answered %s", c.answered)
	}
	said(t, p.Ready([]string{"v3"}, model, now, now), &yes, "not asked yet, and answered")
}

// Where no way leads to a model from here, nothing is known of it: but what was
// reached once and is not any more is not ready.
func TestAModelThatIsNeverReachedIsNotKnown(t *testing.T) {
	yes, no := true, false
	server := httptest.NewServer(http.NotFoundHandler())
	there := endpoint(t, server.Listener.Addr().String())
	p := New(nil)
	p.Watch([]compile.Cluster{
		{Name: "a/v1", Endpoints: []policy.Endpoint{nobody(t)}},
		{Name: "a/v2", Endpoints: []policy.Endpoint{nobody(t)}},
		{Name: "b/v1", Endpoints: []policy.Endpoint{there}},
		{Name: "b/v2", Endpoints: []policy.Endpoint{nobody(t)}},
	})
	ask := func(version string, want *bool) {
		t.Helper()
		model := []string{version[:2] + "v1", version[:2] + "v2"}
		said(t, p.Ready([]string{version}, model, time.Time{}, time.Now()), want, "%s", version)
	}
	for range 3 {
		p.round(t.Context())
		ask("a/v1", nil)
		ask("a/v2", nil)
		ask("b/v1", &yes)
		ask("b/v2", &no)
	}
	server.Close()
	p.round(t.Context())
	ask("b/v1", &no)
	ask("b/v2", &no)
}
