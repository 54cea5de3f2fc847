package dataplane

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/internal/porttest"
)

// Plain starts an Envoy without safestate that sends everything to one model,
// and returns its address: what answers are compared with.
func Plain(t testing.TB, model string) string {
	t.Helper()
	return plain(t, Cluster("model", model, false))
}

// PlainHTTP2 is Plain for a model that is asked over HTTP/2, as gRPC is.
func PlainHTTP2(t testing.TB, model string) string {
	t.Helper()
	return plain(t, Cluster("model", model, true))
}

func plain(t testing.TB, model map[string]any) string {
	t.Helper()
	traffic, admin := porttest.Free(t), porttest.Free(t)
	manager := map[string]any{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "plain",
		"route_config": map[string]any{"virtual_hosts": []any{map[string]any{
			"name": "all", "domains": []string{"*"},
			"routes": []any{map[string]any{
				"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "model", "timeout": "10s"},
			}},
		}}},
		"http_filters": []any{map[string]any{
			"name":         "router",
			"typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
		}},
	}
	config := map[string]any{
		"node":  map[string]any{"id": "plain", "cluster": "plain"},
		"admin": map[string]any{"address": SocketAddress(fmt.Sprintf("127.0.0.1:%d", admin))},
		"static_resources": map[string]any{
			"listeners": []any{map[string]any{
				"name": "plain", "address": SocketAddress(fmt.Sprintf("127.0.0.1:%d", traffic)),
				"filter_chains": []any{map[string]any{"filters": []any{map[string]any{"name": "http", "typed_config": manager}}}},
			}},
			"clusters": []any{model},
		},
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plain.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	StartEnvoy(t, path, fmt.Sprintf("127.0.0.1:%d", admin))
	return fmt.Sprintf("127.0.0.1:%d", traffic)
}

// SocketAddress is host:port as Envoy's configuration has it.
func SocketAddress(hostport string) map[string]any {
	var port int
	host := hostport
	for i := len(hostport) - 1; i >= 0; i-- {
		if hostport[i] == ':' {
			host = hostport[:i]
			_, _ = fmt.Sscan(hostport[i+1:], &port) // 0 where it is no number: Envoy says so
			break
		}
	}
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": port}}
}

// Cluster is a static cluster of one endpoint.
func Cluster(name, hostport string, http2 bool) map[string]any {
	c := map[string]any{
		"name": name, "type": "STATIC", "connect_timeout": "10s",
		"load_assignment": map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": SocketAddress(hostport)}}},
		}}},
	}
	if http2 {
		c["typed_extension_protocol_options"] = map[string]any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
			},
		}
	}
	return c
}
