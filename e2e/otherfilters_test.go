package e2e

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/porttest"
)

// otherFilter is a filter of somebody else's that answers in the model's place.
type otherFilter struct {
	name   string
	filter map[string]any // nil: none, the path has no route
	status int
}

const extensions = "type.googleapis.com/envoy.extensions.filters.http."

func grpcTo(cluster string) map[string]any {
	return map[string]any{"envoy_grpc": map[string]any{"cluster_name": cluster}, "timeout": "0.3s"}
}

func localLimit(status string) map[string]any {
	return map[string]any{
		"@type": extensions + "local_ratelimit.v3.LocalRateLimit", "stat_prefix": "limit",
		"status":                  map[string]any{"code": status},
		"token_bucket":            map[string]any{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
		"filter_enabled":          map[string]any{"default_value": map[string]any{"numerator": 100}},
		"filter_enforced":         map[string]any{"default_value": map[string]any{"numerator": 100}},
		"response_headers_to_add": []any{map[string]any{"header": map[string]any{"key": "x-limit", "value": "theirs"}}},
	}
}

func otherFilters() []otherFilter {
	return []otherFilter{
		{name: "ext_authz dead, 503", status: 503, filter: map[string]any{
			"@type": extensions + "ext_authz.v3.ExtAuthz", "grpc_service": grpcTo("nobody"), "transport_api_version": "V3",
			"status_on_error": map[string]any{"code": "ServiceUnavailable"},
		}},
		{name: "ext_authz dead, 403", status: 403, filter: map[string]any{
			"@type": extensions + "ext_authz.v3.ExtAuthz", "grpc_service": grpcTo("nobody"), "transport_api_version": "V3",
		}},
		{name: "rate limit 429", status: 429, filter: localLimit("TooManyRequests")},
		{name: "rate limit 503", status: 503, filter: localLimit("ServiceUnavailable")},
		{name: "rate limit service dead, 500", status: 500, filter: map[string]any{
			"@type": extensions + "ratelimit.v3.RateLimit", "domain": "d", "failure_mode_deny": true,
			"rate_limit_service": map[string]any{"grpc_service": grpcTo("nobody"), "transport_api_version": "V3"},
			"rate_limits":        []any{map[string]any{"actions": []any{map[string]any{"generic_key": map[string]any{"descriptor_value": "x"}}}}},
		}},
		{name: "ext_proc of another team dead", status: 500, filter: map[string]any{
			"@type": extensions + "ext_proc.v3.ExternalProcessor", "grpc_service": grpcTo("nobody"),
			"processing_mode": map[string]any{"response_header_mode": "SEND"},
		}},
		{name: "fault abort 503", status: 503, filter: map[string]any{
			"@type": extensions + "fault.v3.HTTPFault",
			"abort": map[string]any{"http_status": 503, "percentage": map[string]any{"numerator": 100}},
		}},
		{name: "404", status: 404},
	}
}

// insert puts the filter in front of ours; with ours taken out too where
// without is set.
func (o otherFilter) insert(dead string, without bool) func(testing.TB, map[string]any) {
	return func(t testing.TB, config map[string]any) {
		manager, names := dataplane.HTTPFilters(t, config)
		if !slices.Contains(names, "safestate") {
			t.Fatalf("no filter of ours among %q", names)
		}
		list, _ := manager["http_filters"].([]any)
		if without {
			list = list[len(list)-1:] // the router is the last
			delete(manager, "local_reply_config")
			forgetRoutes(manager)
		}
		if o.filter != nil {
			list = append([]any{map[string]any{"name": "theirs", "typed_config": o.filter}}, list...)
		}
		manager["http_filters"] = list
		resources := dataplane.Object(config, "static_resources")
		clusters, _ := resources["clusters"].([]any)
		resources["clusters"] = append(clusters, dataplane.Cluster("nobody", dead, true))
	}
}

// forgetRoutes removes what a rendered route holds for our filters.
func forgetRoutes(manager map[string]any) {
	for _, host := range dataplane.List(dataplane.Object(manager, "route_config"), "virtual_hosts") {
		delete(host, "typed_per_filter_config")
		for _, r := range dataplane.List(host, "routes") {
			delete(r, "typed_per_filter_config")
			delete(r, "metadata")
		}
	}
}

// TestOtherFiltersFailuresStayTheirs: what another filter answers has the same
// status and body as without us, with safestate alive and dead. An
// authorization that failed is never turned into an answer.
func TestOtherFiltersFailuresStayTheirs(t *testing.T) {
	primary, fallback := models(t)
	config := writeConfig(t, "", calmly, primary, fallback)
	route := routeName(fm.V2, "main")
	for _, other := range otherFilters() {
		t.Run(other.name, func(t *testing.T) {
			dead := porttest.Address(t)
			ask := func(p *dataplane.Plane) dataplane.Answer {
				q := inference(fm.V2, route, 1, nil)
				if other.filter == nil {
					q.Path = "/no/such/route"
				}
				if strings.HasPrefix(other.name, "rate limit") && other.status != 500 {
					p.Client.Do(q) // takes the only token
				}
				return p.Client.Do(q)
			}
			without := dataplane.Start(t, dataplane.Options{Config: config, NoProcessor: true, Edit: other.insert(dead, true)})
			with := dataplane.Start(t, dataplane.Options{Config: config, Static: true, Edit: other.insert(dead, false)})
			want := ask(without)
			if want.Err != nil || want.Status != other.status {
				t.Fatalf("without us: status %d, want %d; error %v, body %.200q", want.Status, other.status, want.Err, want.Body)
			}
			check := func(when string) {
				got := ask(with)
				if got.Err != nil || got.Status != want.Status || !bytes.Equal(got.Body, want.Body) || got.Source() != "" {
					t.Errorf("safestate %s: status %d, source %q, body %.200q, error %v; without us %d, %.200q",
						when, got.Status, got.Source(), got.Body, got.Err, want.Status, want.Body)
				}
			}
			check("alive")
			with.Safestate.Kill()
			check("dead")
		})
	}
}

// TestLastRung: the model's failures get the route's safe default from Envoy
// alone, with safestate killed and hung, and with the model dead as well.
func TestLastRung(t *testing.T) {
	for _, away := range []string{"dead", "hung"} {
		t.Run(away, func(t *testing.T) {
			plane, primary, _ := wholePlane(t, inTime)
			switch away {
			case "dead":
				plane.Safestate.Kill()
			case "hung":
				if err := plane.Safestate.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				stopped(t, plane.Safestate)
			}
			for _, p := range fm.Protocols {
				for _, f := range []fm.Fault{fm.None, fm.S04UnavailableForEver, fm.S06NeverAnswers, fm.S15Down, fm.C01NaNBare} {
					t.Run(p.String()+"/"+f.String(), func(t *testing.T) {
						primary.Set(f, 0)
						defer primary.Set(fm.None, 0)
						a := again(3, func() dataplane.Answer { return plane.Client.Do(inference(p, routeName(p, "main"), 1, nil)) }, outOfTime)
						if a.Err != nil || a.Status != http.StatusOK || a.Source() != "safe_default" || string(a.Body) != dialects[p].safe {
							t.Errorf("status %d, source %q, reason %q, error %v, body %.300q", a.Status, a.Source(), a.Reason(), a.Err, a.Body)
						}
						if a.Took > deadline+deadlineGrace {
							t.Errorf("the answer took %s, the deadline is %s", a.Took, deadline)
						}
					})
				}
			}
		})
	}
}
