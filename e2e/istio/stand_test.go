package istio

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

// stand is an API server with every kind, an istiod on it, and a model in two
// versions behind a gateway and at a client's sidecar, as a file of testdata
// says. In its own file, the model's server has a sidecar too.
type stand struct {
	t   *testing.T
	api *cluster.API
	*cluster.Istiod

	v1, v2  *backend
	ports   map[string]int // what the file calls them
	gateway *cluster.Envoy
	client  *cluster.Envoy
}

func newStand(t *testing.T, file string) *stand {
	t.Helper()
	s := &stand{t: t, v1: newBackend(t, "v1"), v2: newBackend(t, "v2")}
	s.ports = map[string]int{
		"V1_PORT": s.v1.port, "V2_PORT": s.v2.port, "GATEWAY_PORT": porttest.Free(t), "SERVER_OUT_PORT": porttest.Free(t),
		"OUT_PORT": porttest.Free(t), "IN_PORT": porttest.Free(t),
	}
	s.api = cluster.StartAPI(t, cluster.Options{
		CRDs:       []cluster.CRDs{cluster.GatewayAPI, cluster.Istio},
		Namespaces: []string{cluster.RootNamespace, "models"},
	})
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	s.apply(string(text))
	s.Istiod = cluster.StartIstiod(t, s.api, cluster.IstiodOptions{})
	s.gateway = s.Gateway(t, cluster.Workload{Namespace: "models", Name: "gateway", Labels: map[string]string{
		"app": "gateway", "gateway.networking.k8s.io/gateway-name": "public",
	}})
	s.client = s.Sidecar(t, cluster.Workload{Namespace: "models", Name: "client", Labels: map[string]string{"app": "client"}})
	return s
}

// named puts the stand's ports into a text.
func (s *stand) named(text string) string {
	pairs := []string{"SERVER_OUT_PORT", fmt.Sprint(s.ports["SERVER_OUT_PORT"])} // holds another's name
	for name, port := range s.ports {
		pairs = append(pairs, name, fmt.Sprint(port))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// apply writes YAML as the administrator.
func (s *stand) apply(text string) {
	s.t.Helper()
	s.api.Admin.Apply(s.t, "test", s.named(text))
}

// remove deletes what YAML names.
func (s *stand) remove(text string) {
	s.t.Helper()
	s.api.Admin.Delete(s.t, s.named(text))
}

// atGateway and atClient ask for a path of a host.
func (s *stand) atGateway(host, path string, headers ...string) answer {
	return ask(s.ports["GATEWAY_PORT"], host, path, headers...)
}

func (s *stand) atClient(host, path string, headers ...string) answer {
	return ask(s.ports["OUT_PORT"], host, path, headers...)
}

// names are the routes of an Envoy in order, "config | vhost | name" each, with
// the words of the test's file for ports.
func (s *stand) names(e *cluster.Envoy) []string {
	s.t.Helper()
	var pairs []string
	for name, port := range s.ports {
		pairs = append(pairs, fmt.Sprint(port), name)
	}
	words := strings.NewReplacer(pairs...)
	var all []string
	for _, config := range e.Routes(s.t) {
		for _, host := range config.VirtualHosts {
			for _, route := range host.Routes {
				all = append(all, words.Replace(config.Name+" | "+host.Name+" | "+route.Name))
			}
		}
	}
	return all
}
