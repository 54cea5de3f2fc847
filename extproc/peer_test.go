package extproc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// shows is TLS in which the peer has shown a certificate with these URIs.
type shows struct {
	credentials.TransportCredentials
	state *tls.ConnectionState
}

func showing(t *testing.T, uris ...string) *tls.ConnectionState {
	t.Helper()
	cert := &x509.Certificate{}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		cert.URIs = append(cert.URIs, u)
	}
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
}

func (s shows) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, credentials.TLSInfo{State: *s.state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

// dialled is the same proxy, over connections on which the peer shows a certificate.
func (p *proxy) dialled(by *tls.ConnectionState) *proxy {
	p.t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(append(ServerOptions(), grpc.Creds(shows{insecure.NewCredentials(), by}))...)
	p.server.Register(g)
	go func() { _ = g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
	})
	out := *p
	out.client, out.conn = extprocv3.NewExternalProcessorClient(conn), conn
	return &out
}

const gateway = "router~10.0.0.1~gateway-7.x~edge.svc.cluster.local"

// TestWhoSpeaksForAProxy: of Istio's ids, and of those that only look like them.
func TestWhoSpeaksForAProxy(t *testing.T) {
	const (
		edge  = "spiffe://cluster.local/ns/edge/sa/gateway"
		other = "spiffe://cluster.local/ns/other/sa/gateway"
	)
	node := func(namespace string) string {
		return "router~10.0.0.1~gateway-7.x." + namespace + "~edge.svc.cluster.local"
	}
	for name, c := range map[string]struct {
		uris []string
		node string
		want bool
	}{
		"its own namespace's":                   {[]string{edge}, node("edge"), true},
		"another trust domain's":                {[]string{"spiffe://example.org/ns/edge/sa/x"}, node("edge"), true},
		"another namespace's":                   {[]string{other}, node("edge"), false},
		"a namespace that ends like it":         {[]string{edge}, node("edge-edge"), false},
		"a pod that is called like it":          {[]string{other}, "sidecar~10.0.0.1~x.other.edge~other.svc.cluster.local", false},
		"no node":                               {[]string{edge}, "", false},
		"a node that is no mesh's":              {[]string{edge}, "envoy-1", false},
		"a node with one part more":             {[]string{edge}, node("edge") + "~x", false},
		"safestate's authority":                 {nil, "envoy-1", true},
		"safestate's authority, a mesh's proxy": {nil, node("edge"), false},
		"two ids":                               {[]string{edge, other}, node("edge"), false},
		"no SPIFFE id":                          {[]string{"https://cluster.local/ns/edge/sa/x"}, node("edge"), false},
		"another form of id":                    {[]string{"spiffe://cluster.local/ns/edge"}, node("edge"), false},
		"an empty namespace":                    {[]string{"spiffe://cluster.local/ns//sa/x"}, "sidecar~10.0.0.1~x.edge~y", false},
	} {
		p := newProxy(t, func(o *Options) { o.Mesh = true })
		if got := p.server.speaksFor(showing(t, c.uris...), c.node); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if n := sample(p, "safestate_reports_refused_total"); n == 0 != c.want {
			t.Errorf("%s: %v are counted", name, n)
		}
		if !p.server.speaksFor(nil, c.node) {
			t.Errorf("%s: refused on a socket of this machine", name)
		}
		if !newProxy(t).server.speaksFor(showing(t, c.uris...), c.node) {
			t.Errorf("%s: refused beside plain Envoy", name)
		}
	}
}

// TestForeignProxiesCountForNothing: a workload that calls itself another namespace's
// proxy is judged, and neither its requests nor its logs reach the control plane.
func TestForeignProxiesCountForNothing(t *testing.T) {
	const infer = "/v2/models/fraud/infer"
	for id, want := range map[string]string{
		"spiffe://cluster.local/ns/x/sa/gateway":     "v1: asked 2 bad 2 fallback 1 broken 1 nonfinite 1",
		"spiffe://cluster.local/ns/other/sa/gateway": "",
	} {
		p, totals := watched(t, func(o *Options) { o.Mesh = true })
		p.node = gateway
		by := p.dialled(showing(t, id))
		got := by.do(request{policy: fraud(), answer: nanAnswer})
		if got.err != nil || got.headers["x-safestate-source"] != "safe_default" {
			t.Errorf("%s: not judged: %v %v", id, got.err, got.headers)
		}
		by.do(request{policy: fraud(), answer: cleanAnswer, vanish: true})
		by.log(logged("default/fraud/score", "default/fraud", infer, cutDetails, nil))
		refused := sample(p, "safestate_reports_refused_total")
		if s := reported(totals()); s != want {
			t.Errorf("%s: reported %q, want %q", id, s, want)
		}
		if (refused == 3) != (want == "") || refused != 0 && want != "" {
			t.Errorf("%s: %v are counted as refused", id, refused)
		}
	}
}

// TestForeignReports: a filter's report is held to its proxy's namespace by its name
// and by each of its counts.
func TestForeignReports(t *testing.T) {
	const own, foreign = "sidecar~10.0.0.2~a-1.x~x.svc.cluster.local", "sidecar~10.0.0.3~b-1.y~y.svc.cluster.local"
	for name, c := range map[string]struct {
		report *signalsv1.Report
		code   int
	}{
		"its own":              {&signalsv1.Report{Reporter: own + "/wasm-1", Counts: []*signalsv1.Counts{{Node: own}}}, http.StatusNoContent},
		"by another's name":    {&signalsv1.Report{Reporter: foreign + "/wasm-1", Counts: []*signalsv1.Counts{{Node: own}}}, http.StatusForbidden},
		"by a processor's":     {&signalsv1.Report{Reporter: "safestate-processor-1"}, http.StatusForbidden},
		"for another's proxy":  {&signalsv1.Report{Reporter: own + "/wasm-1", Counts: []*signalsv1.Counts{{Node: own}, {Node: foreign}}}, http.StatusForbidden},
		"for no proxy by name": {&signalsv1.Report{Reporter: own + "/wasm-1", Counts: []*signalsv1.Counts{{}}}, http.StatusForbidden},
	} {
		got := 0
		p := newProxy(t, func(o *Options) {
			o.Mesh, o.Reports = true, func(*signalsv1.Report) error { got++; return nil }
		})
		body, err := proto.Marshal(c.report)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set(policy.HeaderReport, "1")
		r.TLS = showing(t, "spiffe://cluster.local/ns/x/sa/a")
		w := httptest.NewRecorder()
		p.server.Upstream().ServeHTTP(w, r)
		if w.Code != c.code || (got == 1) != (c.code == http.StatusNoContent) {
			t.Errorf("%s: %d %s, %d taken", name, w.Code, w.Body, got)
		}
	}
}
