package install

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

// What a gateway's pod has beside Envoy: Istio's agent, which gives it the certificate
// of its service account, and the cluster's DNS.

// agent serves the secrets of one workload, as Istio's does on its socket.
type agent struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	secret *anypb.Any
}

func newAgent(t *testing.T, mesh *authority, spiffe string) (address string) {
	t.Helper()
	cert, key := mesh.issue(spiffe)
	inline := func(text []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
	}
	a := &agent{}
	var err error
	if a.secret, err = anypb.New(&tlsv3.Secret{Name: "default", Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(cert), PrivateKey: inline(key)},
	}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(g, a)
	go func() { _ = g.Serve(l) }() // it ends with the test
	t.Cleanup(g.Stop)
	return l.Addr().String()
}

// StreamSecrets gives the one secret there is, once.
func (a *agent) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	for sent := false; ; sent = true {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		if sent || !slices.Contains(q.GetResourceNames(), "default") {
			continue // it says that it has it
		}
		if err := stream.Send(&discoveryv3.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: q.GetTypeUrl(), Resources: []*anypb.Any{a.secret}}); err != nil {
			return err
		}
	}
}

// names is the cluster's DNS: a headless Service is the addresses of its pods. It is
// safe for concurrent use.
type names struct {
	address string

	mu   sync.Mutex
	pods map[string][]string // by a Service's name
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	n := &names{address: conn.LocalAddr().String(), pods: map[string][]string{}}
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply, err := n.answer(buf[:size]); err == nil {
				_, _ = conn.WriteTo(reply, from) // asked again where it is lost
			}
		}
	}()
	return n
}

func (n *names) set(service string, pods ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[service] = pods
}

func (n *names) answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	pods, known := n.pods[strings.TrimSuffix(q.Name.String(), ".")]
	n.mu.Unlock()
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{q}}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, pod := range pods {
		if q.Type == dnsmessage.TypeA {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}, Body: &dnsmessage.AResource{A: [4]byte(net.ParseIP(pod).To4())},
			})
		}
	}
	return reply.Pack()
}

// startGateway starts an Envoy that istiod configures, with the bootstrap's parts of
// istio-proxy that safestate counts on.
func startGateway(t *testing.T, istiod *cluster.Istiod, agent string, dns *names) (admin string) {
	t.Helper()
	admin = porttest.Address(t)
	ads := map[string]any{"ads": map[string]any{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
	const ip = "127.1.9.9" // unlike any endpoint's
	// What istio-proxy keeps by itself (tools/packaging/common/envoy_bootstrap.json and
	// pkg/bootstrap/config.go of istio 1.31), and what the documentation has added.
	var kept []any
	for _, prefix := range []string{"reporter=", "cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm", "component", "istio"} {
		kept = append(kept, map[string]any{"prefix": prefix})
	}
	added := regexp.MustCompile(`inclusionPrefixes: \[(.*)\]`).FindStringSubmatch(read(t, "docs/istio.md"))
	if added == nil {
		t.Fatal("docs/istio.md does not say which counters proxies are to keep")
	}
	for _, prefix := range strings.Split(added[1], ", ") {
		kept = append(kept, map[string]any{"prefix": prefix})
	}
	text, err := json.Marshal(map[string]any{
		"node": map[string]any{"id": "router~" + ip + "~gw.models~models.svc.cluster.local", "cluster": "gw.models", "metadata": map[string]any{
			"NAMESPACE": "models", "NAME": "gw", "LABELS": map[string]string{"app": "gw", "gateway.networking.k8s.io/gateway-name": "public"},
			"CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0", "MESH_ID": "cluster.local", "SERVICE_ACCOUNT": "default", "INSTANCE_IPS": ip,
		}},
		"admin": map[string]any{"address": dataplane.SocketAddress(admin)},
		"dynamic_resources": map[string]any{
			"ads_config": map[string]any{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds-grpc"}}},
			},
			"cds_config": ads, "lds_config": ads,
		},
		"static_resources": map[string]any{"clusters": []any{dataplane.Cluster("xds-grpc", istiod.XDS, true), dataplane.Cluster("sds-grpc", agent, true)}},
		"stats_config": map[string]any{
			"use_all_default_tags": false,
			"stats_tags": []any{
				map[string]any{"tag_name": "cluster_name", "regex": `^cluster(\.(.+);)`},
				map[string]any{"tag_name": "http_conn_manager_prefix", "regex": `^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)`},
				map[string]any{"tag_name": "response_code", "regex": `_rq(_(\d{3}))$`},
				map[string]any{"tag_name": "response_code_class", "regex": `_rq(_(\dxx))$`},
				map[string]any{"tag_name": "component", "regex": `(component\.(.+?)\.)`},
			},
			"stats_matcher": map[string]any{"inclusion_list": map[string]any{"patterns": kept}},
		},
		"typed_dns_resolver_config": map[string]any{"name": "envoy.network.dns_resolver.cares", "typed_config": map[string]any{
			"@type":     "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
			"resolvers": []any{dataplane.SocketAddress(dns.address)}, "dns_resolver_options": map[string]any{"no_default_search_domain": true},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dataplane.StartEnvoy(t, path, admin)
	return admin
}
