package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// RouteConfig is one of Envoy's route configurations, as far as tests ask.
type RouteConfig struct {
	Name         string        `json:"name"`
	VirtualHosts []VirtualHost `json:"virtual_hosts"`
}

// VirtualHost is one of a route configuration's.
type VirtualHost struct {
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
	Routes  []Route  `json:"routes"`
}

// Route is one route. Raw is all of it.
type Route struct {
	Name           string         `json:"name"`
	Match          map[string]any `json:"match"`
	Route          map[string]any `json:"route"`
	DirectResponse map[string]any `json:"direct_response"`
	Metadata       struct {
		Filters map[string]map[string]any `json:"filter_metadata"`
	} `json:"metadata"`
	PerFilter map[string]map[string]any `json:"typed_per_filter_config"`
	Raw       json.RawMessage           `json:"-"`
}

// UnmarshalJSON keeps all of the route in Raw.
func (r *Route) UnmarshalJSON(text []byte) error {
	type plain Route
	r.Raw = append(json.RawMessage(nil), text...)
	return json.Unmarshal(text, (*plain)(r))
}

// Dump is what /config_dump answers under a query such as
// "resource=dynamic_listeners"; "" asks for all.
func (e *Envoy) Dump(t testing.TB, query string) []byte {
	t.Helper()
	var status int
	var body []byte
	dataplane.Eventually(t, within, "config_dump?"+query, func() bool {
		status, body = get("http://" + e.Admin + "/config_dump?" + query)
		return status != 0 || e.Process.Exited()
	})
	if status != http.StatusOK {
		t.Fatalf("config_dump?%s: %d %.200s", query, status, body)
	}
	return body
}

// Routes are the route configurations that the Envoy got from istiod.
func (e *Envoy) Routes(t testing.TB) []RouteConfig {
	t.Helper()
	var dump struct {
		Configs []struct {
			RouteConfig RouteConfig `json:"route_config"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(e.Dump(t, "resource=dynamic_route_configs"), &dump); err != nil {
		t.Fatal(err)
	}
	var all []RouteConfig
	for _, c := range dump.Configs {
		all = append(all, c.RouteConfig)
	}
	return all
}

// Route finds the first route of a name in any route configuration.
func (e *Envoy) Route(t testing.TB, name string) (Route, bool) {
	t.Helper()
	for _, config := range e.Routes(t) {
		for _, host := range config.VirtualHosts {
			for _, route := range host.Routes {
				if route.Name == name {
					return route, true
				}
			}
		}
	}
	return Route{}, false
}

// Stats are the counters and gauges whose names contain a text.
func (e *Envoy) Stats(filter string) map[string]int64 {
	all := map[string]int64{}
	_, body := get("http://" + e.Admin + "/stats?usedonly")
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		var n int64
		if _, err := fmt.Sscan(value, &n); ok && err == nil && strings.Contains(name, filter) {
			all[name] = n
		}
	}
	return all
}

// Rejected is how many updates the Envoy refused, of every kind.
func (e *Envoy) Rejected() int64 {
	var n int64
	for name, value := range e.Stats("update_rejected") {
		if strings.HasSuffix(name, "update_rejected") {
			n += value
		}
	}
	return n
}

// every has a condition that is polled often looked at once per interval.
func every(interval time.Duration, holds func() bool) func() bool {
	var next time.Time
	return func() bool {
		if time.Now().Before(next) {
			return false
		}
		next = time.Now().Add(interval)
		return holds()
	}
}

// get asks a URL; status 0 where there is no answer within ten seconds.
func get(url string) (status int, body []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }() // it has been read, or is of no use
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}
