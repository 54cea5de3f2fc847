package readiness

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

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
	got := p.Ready(clusters)
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		t.Errorf("%v: %v, want %v", clusters, got, want)
	}
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
