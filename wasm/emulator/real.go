package emulator

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// Real is a real Envoy with a module in its chain, for what has to be the same
// there. It has one worker.
type Real struct {
	Addr    string // of its listener
	Admin   string
	Process *dataplane.Process
}

// RealOptions are what a real Envoy is configured with.
type RealOptions struct {
	Wasm          string // the module's file
	Name          string // of the plugin
	Configuration string // the plugin's
	Node          string
	BufferLimit   int // 0: 1 MiB
	Filters       []any
	Routes        []any
	Clusters      []map[string]any
	Stats         map[string]any // stats_config
}

// RealRoute is a route of a real Envoy by a prefix of the path.
func RealRoute(prefix string, r Route, timeout string) map[string]any {
	metadata := map[string]any{}
	for namespace, values := range r.Metadata {
		metadata[namespace] = values
	}
	return map[string]any{
		"name": r.Name, "match": map[string]any{"prefix": prefix},
		"route":    map[string]any{"cluster": r.Cluster, "timeout": timeout},
		"metadata": map[string]any{"filter_metadata": metadata},
	}
}

// StartReal starts an Envoy and waits until it is live: V8 compiles the module
// first, for seconds.
func StartReal(t testing.TB, o RealOptions) *Real {
	t.Helper()
	r := &Real{Addr: porttest.Address(t), Admin: porttest.Address(t)}
	config, err := json.Marshal(o.bootstrap(r))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := dataplane.Envoy()
	if err != nil {
		t.Fatal(err)
	}
	r.Process = dataplane.Spawn(t, "envoy", binary, "-c", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	dataplane.Eventually(t, time.Minute, "Envoy is live", func() bool {
		if r.Process.Exited() {
			t.Fatalf("Envoy ended: %v\n%s", r.Process.WaitExit(0), r.Process.Log())
		}
		return strings.Contains(dataplane.Get("http://"+r.Admin+"/ready"), "LIVE")
	})
	return r
}

func (o RealOptions) bootstrap(r *Real) map[string]any {
	if o.BufferLimit == 0 {
		o.BufferLimit = defaultBufferLimit
	}
	for _, c := range o.Clusters {
		c["per_connection_buffer_limit_bytes"] = o.BufferLimit
	}
	manager := map[string]any{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "real", "http_protocol_options": map[string]any{"enable_trailers": true},
		"route_config": map[string]any{"virtual_hosts": []any{map[string]any{"name": "all", "domains": []string{"*"}, "routes": o.Routes}}},
		"http_filters": append(append([]any{}, o.Filters...), o.filter(), map[string]any{
			"name": "router",
			"typed_config": map[string]any{
				"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": true,
			},
		}),
	}
	bootstrap := map[string]any{
		"node":  map[string]any{"id": o.Node, "cluster": "real"},
		"admin": map[string]any{"address": dataplane.SocketAddress(r.Admin)},
		"static_resources": map[string]any{
			"listeners": []any{map[string]any{
				"name": "real", "address": dataplane.SocketAddress(r.Addr), "per_connection_buffer_limit_bytes": o.BufferLimit,
				"filter_chains": []any{map[string]any{"filters": []any{map[string]any{"name": "http", "typed_config": manager}}}},
			}},
			"clusters": o.Clusters,
		},
	}
	if o.Stats != nil {
		bootstrap["stats_config"] = o.Stats
	}
	return bootstrap
}

// filter is the module's. A VM that fails is built again after 10 ms: a base
// interval of 1 ms ends Envoy 1.40, which divides by half of it.
func (o RealOptions) filter() map[string]any {
	return map[string]any{
		"name": o.Name,
		"typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
			"config": map[string]any{
				"root_id": o.Name, "failure_policy": "FAIL_RELOAD", "allow_on_headers_stop_iteration": true,
				"reload_config": map[string]any{"backoff": map[string]any{"base_interval": "0.01s"}},
				"vm_config": map[string]any{
					"vm_id": o.Name, "runtime": "envoy.wasm.runtime.v8",
					"code": map[string]any{"local": map[string]any{"filename": o.Wasm}},
				},
				"configuration": map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": o.Configuration},
			},
		},
	}
}
