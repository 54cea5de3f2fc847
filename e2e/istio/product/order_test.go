package product

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// providers is Istio's way to an external authorization.
const providers = `
extensionProviders:
- name: authz
  envoyExtAuthzGrpc: {service: authz.models.svc.cluster.local, port: 9000}
`

const authorization = `
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: models}
spec: {selector: {app: authz}, ports: [{name: grpc, port: 9000, targetPort: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: authz, namespace: models}
spec: {address: 127.0.0.1, labels: {app: authz}, ports: {grpc: AUTHZ_PORT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  action: CUSTOM
  provider: {name: authz}
  rules: [{to: [{operation: {paths: ["/v2/*"]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  action: DENY
  rules: [{when: [{key: "request.headers[x-blocked]", values: ["*"]}]}]
`

// limit is a local rate limit by an EnvoyFilter as Istio's documentation has them: one
// request, then none for an hour.
const limit = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limit, namespace: models}
spec:
  priority: PRIORITY
  workloadSelector: {labels: {app: gw}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          value: {stat_prefix: limit, BUCKET}
`

// bucket is what is limited: everything, or the one route that names it.
const (
	bucket = `token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s},
            filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}`
	limitedRoute = `
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY, routeConfiguration: {vhost: {name: "fraud.example.com:80", route: {name: models.fraud.0}}}}
    patch:
      operation: MERGE
      value:
        typed_per_filter_config:
          envoy.filters.http.local_ratelimit:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
            type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            value: {stat_prefix: limit, ` + bucket + `}
`
)

func limited(priority int, perRoute bool) string {
	text := strings.Replace(limit, "priority: PRIORITY", fmt.Sprintf("priority: %d", priority), 1)
	if priority == 0 {
		text = strings.Replace(limit, "  priority: PRIORITY\n", "", 1)
	}
	if perRoute {
		return strings.Replace(text, ", BUCKET", "", 1) + strings.TrimPrefix(limitedRoute, "\n")
	}
	return strings.Replace(text, "BUCKET", bucket, 1)
}

const (
	filterAuthz = "envoy.filters.http.ext_authz"
	filterRBAC  = "envoy.filters.http.rbac"
	filterLimit = "envoy.filters.http.local_ratelimit"
)

// inFront are the filters of an authorization: that of CUSTOM, and that of DENY.
var inFront = []string{filterAuthz, filterRBAC}

// TestOrder: filters of others stand in front of ours, in Istio's own ways to them, and
// what they refuse stays theirs.
func TestOrder(t *testing.T) {
	s := newStandOf(t, cluster.IstiodOptions{Mesh: providers})
	a := newAuthz(t)
	s.apply(strings.NewReplacer("AUTHZ_PORT", fmt.Sprint(a.port)).Replace(authorization))
	s.apply(limited(0, false))
	s.guardedBehind(append(inFront, filterLimit)...)
	s.part("limit first, then the policy", func(s *stand) { s.limits() })
	s.unlimited()
	s.part("authorization", func(s *stand) { s.authorizes(a) })
	s.part("rbac", func(s *stand) {
		s.theirs(403, "RBAC: access denied", func() answer { return s.with("X-Blocked", "yes") })
	})
	for _, c := range []struct {
		name     string
		priority int
		perRoute bool
	}{{"limit", 0, false}, {"limit of the route", 0, true}, {"limit with a priority", 50, true}} {
		s.part(c.name, func(s *stand) {
			s.apply(limited(c.priority, c.perRoute))
			s.ordered(append(inFront, filterLimit), nil)
			s.limits()
			s.unlimited()
		})
	}
	s.part("limit behind", func(s *stand) { s.behind() })
	s.stopsInFront()
	s.part("authorization away", func(s *stand) {
		a.stop()
		s.until("nobody is let in", func(a answer) bool { return a.status == http.StatusForbidden })
		s.theirs(403, "", s.infer)
	})
}

// guardedBehind starts safestate and waits until its filters are behind others.
func (s *stand) guardedBehind(front ...string) {
	s.t.Helper()
	s.serve()
	s.apply(policy)
	s.ordered(front, nil)
	dataplane.Eventually(s.t, patience, "the route has its policy", func() bool { return strings.Contains(s.route(), "policy_signature") })
}

// authorizes: who is denied stays so; who is allowed is, and only then does safestate
// see the request.
func (s *stand) authorizes(a *authz) {
	s.theirs(403, "not you", func() answer { return s.with("X-Deny", "yes") })
	during := float64(-1)
	a.mu.Lock()
	a.during = func() { during = s.counted(`safestate_extproc_messages_total{phase="request_headers"}`) }
	before := a.requests
	a.mu.Unlock()
	s.v1.nan.Store(true)
	defer s.v1.nan.Store(false)
	from := s.counted(`safestate_extproc_messages_total{phase="request_headers"}`)
	if a := s.infer(); a.nan() || a.source != "safe_default" {
		s.t.Errorf("a NaN: %s", a)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.during = nil
	if now := s.counted(`safestate_extproc_messages_total{phase="request_headers"}`); during != from || now != from+1 || a.requests != before+1 {
		s.t.Errorf("the processor had %v requests before, %v while the authorization had it, %v after; it had %d", from, during, now, a.requests-before)
	}
	for name := range a.headers {
		if strings.HasPrefix(name, "x-safestate-") {
			s.t.Errorf("the authorization saw %s", name)
		}
	}
}

// limits: after a request too many all are refused, and nothing else happens.
func (s *stand) limits() {
	s.t.Helper()
	s.until("the limit is there", func(a answer) bool { client.CloseIdleConnections(); return a.status == http.StatusTooManyRequests })
	s.theirs(http.StatusTooManyRequests, "local_rate_limited", s.infer)
}

// behind: a filter that is inserted with a higher priority than ours stands between ours
// and the router. What it refuses is told from the model's answers, and what is killed is
// stopped in front of it. A route it does not find by istiod's name, since ours has given
// it another.
func (s *stand) behind() {
	for _, refusal := range []struct {
		status int
		code   string
	}{{429, "TooManyRequests"}, {503, "ServiceUnavailable"}} {
		s.apply(strings.Replace(limited(200, false), "stat_prefix: limit,", "stat_prefix: limit, status: {code: "+refusal.code+"},", 1))
		s.ordered(inFront, []string{filterLimit})
		s.until("the limit is there", func(a answer) bool { client.CloseIdleConnections(); return a.status == refusal.status })
		detected, asked := s.counted("safestate_detections_total{"), s.v1.asked.Load()
		for range 20 {
			if a := s.infer(); a.status != refusal.status || a.body != "local_rate_limited" || a.source != "" {
				s.t.Errorf("%s, want %d", a, refusal.status)
			}
		}
		if now := s.counted("safestate_detections_total{"); now != detected || s.v1.asked.Load() != asked {
			s.t.Errorf("%v of 20 refusals count as bad answers, the model was asked %d times", now-detected, s.v1.asked.Load()-asked)
		}
		s.unlimited()
	}
	s.apply(limited(200, true))
	s.ordered(inFront, []string{filterLimit})
	client.CloseIdleConnections()
	for range 5 {
		if a := s.infer(); a.source != "primary" {
			s.t.Errorf("%s", a)
		}
	}
	s.unlimited()
}

// stopsInFront: what is killed does not get as far as a filter behind ours, whether or
// not safestate lives.
func (s *stand) stopsInFront() {
	s.apply(limited(200, false))
	s.ordered(inFront, []string{filterLimit})
	s.kill(v1)
	s.safestate.Kill()
	client.CloseIdleConnections()
	asked := s.v1.asked.Load()
	for range 5 {
		if a := s.infer(); a.source != "safe_default" || s.v1.asked.Load() != asked {
			s.t.Errorf("killed, without safestate: %s; the model was asked %d times", a, s.v1.asked.Load()-asked)
		}
	}
	s.serve()
	s.revive(v1)
	s.unlimited()
}

// unlimited deletes the limit and waits until requests pass.
func (s *stand) unlimited() {
	s.t.Helper()
	s.api.Admin.Delete(s.t, limited(0, false))
	dataplane.Eventually(s.t, patience, "the limit's filter is gone", func() bool { return !slices.Contains(s.httpFilters(), filterLimit) })
	s.until("the limit is gone", func(a answer) bool { client.CloseIdleConnections(); return a.source == "primary" })
}

// with asks with a header.
func (s *stand) with(header, value string) answer {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/v2/models/fraud/infer", s.port),
		bytes.NewReader([]byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`)))
	if err != nil {
		return answer{err: err}
	}
	r.Host = host
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(header, value)
	resp, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	text, err := io.ReadAll(resp.Body)
	return answer{
		resp.StatusCode, resp.Header.Get("X-Safestate-Source"), resp.Header.Get("X-Safestate-Version"), resp.Header.Get("X-Safestate-Reason"), string(text), err,
	}
}

// httpFilters are the names of the filters in the gateway's first listener, in order.
func (s *stand) httpFilters() []string {
	s.t.Helper()
	type chain struct {
		Filters []struct {
			Config struct {
				HTTP []struct{ Name string } `json:"http_filters"`
			} `json:"typed_config"`
		}
	}
	var dump struct {
		Configs []struct {
			Active struct {
				Listener struct {
					Chains []chain `json:"filter_chains"`
				}
			} `json:"active_state"`
		}
	}
	if err := json.Unmarshal(s.gateway.Dump(s.t, "resource=dynamic_listeners"), &dump); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, c := range dump.Configs {
		for _, chain := range c.Active.Listener.Chains {
			for _, f := range chain.Filters {
				for _, h := range f.Config.HTTP {
					out = append(out, h.Name)
				}
			}
		}
	}
	return out
}

// ours are safestate's filters, in their order.
var ours = []string{"safestate.call", "safestate.default", "safestate.deadline", "safestate", "safestate.stop"}

// ordered waits until the gateway has filters of others in front of ours in this order,
// and behind ours some, where the router is the last.
func (s *stand) ordered(front, behind []string) {
	s.t.Helper()
	var got []string
	defer func() { s.t.Logf("filters: %q", got) }()
	last := slices.Concat(ours, behind, []string{"envoy.filters.http.router"})
	dataplane.Eventually(s.t, patience, fmt.Sprintf("%q, ..., %q", front, last), func() bool {
		got = s.httpFilters()
		n := len(got) - len(last)
		if n < 0 || !slices.Equal(got[n:], last) {
			return false
		}
		rest := got[:n]
		for _, name := range front {
			i := slices.Index(rest, name)
			if i < 0 {
				return false
			}
			rest = rest[i+1:]
		}
		return true
	})
}

// counted is the sum of the counters of safestate's that begin with a text.
func (s *stand) counted(series ...string) (n float64) {
	text := dataplane.Get("http://" + s.http + "/metrics")
	if text == "" {
		s.t.Error("safestate has no metrics")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		var v float64
		if !slices.ContainsFunc(series, func(p string) bool { return strings.HasPrefix(line, p) }) {
			continue
		}
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err == nil {
			n += v
		}
	}
	return n
}

// judged is how many answers and findings safestate has counted so far.
func (s *stand) judged() float64 {
	return s.counted("safestate_prediction_served_total{", "safestate_detections_total{", "safestate_uninspected_total{")
}

// theirs: what others refuse in front of ours has their status and body, the model is
// not asked, and safestate neither answers nor counts it.
func (s *stand) theirs(status int, body string, ask func() answer) {
	s.t.Helper()
	judged, asked := s.judged(), s.v1.asked.Load()
	for range 20 {
		if a := ask(); a.status != status || a.body != body || a.source != "" || a.reason != "" {
			s.t.Errorf("%s, want %d %s", a, status, body)
		}
	}
	if now := s.judged(); now != judged {
		s.t.Errorf("safestate counted %v of 20 requests that others refused", now-judged)
	}
	if now := s.v1.asked.Load(); now != asked {
		s.t.Errorf("the model was asked %d times", now-asked)
	}
}
