package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// Workload is what an Envoy says of itself, and what istiod selects it by.
type Workload struct {
	Namespace, Name string
	// Labels are matched by the selectors of Gateways, Services, Sidecars and
	// EnvoyFilters.
	Labels map[string]string
	// Metadata is added to the node's.
	Metadata map[string]any
}

// Envoy is a stock Envoy that istiod configures over ADS in plaintext. It is
// safe for concurrent use.
type Envoy struct {
	// Admin is host:port of the admin interface.
	Admin string
	// IP is the address that the proxy says it has, of 127.0.0.0/8: unlike any
	// endpoint's, or istiod would take the proxy for that endpoint.
	IP      string
	Process *dataplane.Process
}

// version is Istio's, which decides what istiod sends to a proxy.
const version = "1.31.0"

var addresses atomic.Int32

// Gateway starts an Envoy as a gateway, and waits until it has had its first
// configuration.
func (i *Istiod) Gateway(t testing.TB, w Workload) *Envoy { return i.envoy(t, "router", w) }

// Sidecar starts an Envoy as the sidecar of a workload without interception:
// listeners are where Sidecar resources and the ports of Services put them.
func (i *Istiod) Sidecar(t testing.TB, w Workload) *Envoy { return i.envoy(t, "sidecar", w) }

func (i *Istiod) envoy(t testing.TB, kind string, w Workload) *Envoy {
	t.Helper()
	n := addresses.Add(1)
	e := &Envoy{IP: fmt.Sprintf("127.1.%d.%d", n/250, n%250+1), Admin: porttest.Address(t)}
	text, err := json.Marshal(map[string]any{
		"node":  node(kind, e.IP, w),
		"admin": map[string]any{"address": dataplane.SocketAddress(e.Admin)},
		"dynamic_resources": map[string]any{
			"ads_config": map[string]any{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds-grpc"}}},
			},
			"cds_config": overADS(), "lds_config": overADS(),
		},
		"static_resources": map[string]any{"clusters": []any{dataplane.Cluster("xds-grpc", i.XDS, true)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	e.Process = dataplane.StartEnvoy(t, path, e.Admin)
	return e
}

func overADS() map[string]any {
	return map[string]any{"ads": map[string]any{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
}

// node is what istio-agent writes of a pod, less what a stock Envoy has not.
func node(kind, ip string, w Workload) map[string]any {
	metadata := map[string]any{
		"NAMESPACE": w.Namespace, "NAME": w.Name, "WORKLOAD_NAME": w.Name, "LABELS": w.Labels,
		"CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": version, "MESH_ID": "cluster.local", "SERVICE_ACCOUNT": "default",
		"INTERCEPTION_MODE": "NONE", "INSTANCE_IPS": ip,
	}
	for name, value := range w.Metadata {
		metadata[name] = value
	}
	return map[string]any{
		"id":       fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", kind, ip, w.Name, w.Namespace, w.Namespace),
		"cluster":  w.Name + "." + w.Namespace,
		"metadata": metadata,
	}
}
