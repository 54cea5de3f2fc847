package product

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// TestRestart: safestate is killed and started again. It forgets nothing, and writes
// nothing that is there.
func TestRestart(t *testing.T) {
	s := newStand(t)
	s.guarded()
	load := s.load(100)
	s.halfway()
	s.kill("version/models/fraud/v2") // ends the rollout as well
	s.routed("fraud-v2", 0)
	generation, weights, filters := s.killed("version/models/fraud/v2"), s.object(kindHTTPRoute, "fraud").GetGeneration(), names(s.filters())
	s.says("FailSafePolicy", "fraud", "Programmed", "True ")
	model := s.stored("models/models/fraud")
	s.safestate.Kill()
	written := s.writes()
	s.serve()
	s.lasting(12*time.Second, "the EnvoyFilters and weights are left alone", func() bool {
		return slices.Equal(names(s.filters()), filters) && s.object(kindHTTPRoute, "fraud").GetGeneration() == weights
	})
	if now := s.writes(); now != written {
		t.Errorf("a restart wrote %d EnvoyFilters and routes", now-written)
	}
	if now := s.killed("version/models/fraud/v2"); now != generation {
		t.Errorf("the kill has generation %d, had %d", now, generation)
	}
	if now := s.stored("models/models/fraud"); fmt.Sprint(now["generation"], now["weights"]) != fmt.Sprint(model["generation"], model["weights"]) {
		t.Errorf("the model's state is %v, was %v", now, model)
	}
	s.unharmed(load)
}

// TestLeaderKilled: of two replicas that control the leader is killed. The other one
// goes on, with a rollback that is due by then.
func TestLeaderKilled(t *testing.T) {
	s := newStand(t)
	grpc, answers := s.free(), s.free()
	replicas := map[string]*stand{"a": nil, "b": nil}
	var addresses []string
	for name := range replicas {
		r := *s
		r.http = s.free()
		address := s.free()
		r.args = []string{
			"serve", "--role", "control", "--mesh", "istio", "--kubeconfig", s.api.Admin.Kubeconfig, "--namespace", own,
			"--grpc", address, "--http", r.http, "--processor", grpc, "--answers-upstream", answers,
			"--data-dir", filepath.Join(t.TempDir(), "data"), "--replica", name, "--advertise", address,
		}
		addresses = append(addresses, address)
		replicas[name] = &r
	}
	for _, r := range replicas {
		r.serve()
	}
	processor := *s
	processor.http = s.free()
	processor.args = []string{"serve", "--role", "extproc", "--grpc", grpc, "--answers", answers, "--http", processor.http, "--control", strings.Join(addresses, ",")}
	processor.serve()
	s.apply(policy)
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" })
	leads := func() (name string) {
		for _, r := range replicas {
			if !r.safestate.Exited() {
				name = r.status().Leader.Replica
			}
		}
		return name
	}
	dataplane.Eventually(t, patience, "one leads", func() bool { return replicas[leads()] != nil })
	first := leads()
	leader, second := replicas[first], replicas[map[string]string{"a": "b", "b": "a"}[first]]
	s.http = second.http
	load := s.load(100)
	s.halfway()
	filters := names(s.filters())
	leader.safestate.Kill()
	began := time.Now()
	s.v2.nan.Store(true)
	dataplane.Eventually(t, patience, "the other one leads", func() bool { return second.status().Leader.Replica != first && replicas[leads()] == second })
	t.Log("the other one leads after", time.Since(began))
	if now := names(s.filters()); len(now) != len(filters) {
		t.Errorf("EnvoyFilters %v, were %v", now, filters)
	}
	s.moves("rolled back", func(w []int64) bool { return w[1] == 0 })
	t.Log("rolled back after", time.Since(began))
	s.routed("fraud-v2", 0)
	s.kill(v1)
	s.until("a kill holds", func(a answer) bool { return strings.HasPrefix(a.reason, "killed") })
	leader.serve()
	dataplane.Eventually(t, patience, "who was killed knows of it", func() bool { return leader.killed(v1) != 0 })
	s.unharmed(load)
}

// free is an address that nobody listens at.
func (s *stand) free() string {
	s.t.Helper()
	return porttest.Address(s.t)
}

// writes counts what the API server was asked to write of EnvoyFilters and HTTPRoutes,
// whether it changed anything or not. Their status is istiod's.
func (s *stand) writes() (n int) {
	s.t.Helper()
	c, err := rest.HTTPClientFor(s.api.Admin.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.api.URL+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") || !strings.Contains(line, `subresource=""`) ||
			!strings.Contains(line, `resource="envoyfilters"`) && !strings.Contains(line, `resource="httproutes"`) {
			continue
		}
		for _, verb := range []string{"APPLY", "PATCH", "PUT", "POST", "DELETE"} {
			if strings.Contains(line, `verb="`+verb+`"`) {
				var count int
				if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &count); err != nil {
					s.t.Fatalf("%s: %v", line, err)
				}
				n += count
			}
		}
	}
	if n == 0 {
		s.t.Fatal("the API server counts no writes at all")
	}
	return n
}
