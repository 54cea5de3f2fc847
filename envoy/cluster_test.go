package envoy

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/internal/certtest"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// TestAuthorization: the model gets the header from the file, over ADS and
// from one file alike, and the secret is in no configuration and no dump.
func TestAuthorization(t *testing.T) {
	const secret = "Bearer s3cr3t-t0ken"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"static", "ads"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := newModel(t, nil)
			v := version("v1", m.addr)
			v.AuthorizationFile = file
			o := testOptions(t)
			s := snapshot(t, nil, v)
			var p *proxy
			if how == "static" {
				p = startStatic(t, s, o)
			} else {
				o.XDS = porttest.Address(t)
				serveADS(t, o.XDS, rendered(t, s, o))
				p = startADS(t, o)
			}
			eventually(t, "the model is asked", func() bool {
				r, err := p.try("POST", inferPath, strings.NewReader("{}"), "authorization", "caller's own")
				return err == nil && r.status == 200
			})
			if got := m.last.Load().Header.Values("authorization"); len(got) != 1 || got[0] != secret {
				t.Errorf("the model got %q, want %q", got, secret)
			}
			if dump := p.adminGet("/config_dump?include_eds"); strings.Contains(dump, "s3cr3t") || !strings.Contains(dump, "authorization:default/fraud") {
				t.Error("the dump has the secret, or no reference to it")
			}
		})
	}
	t.Run("a missing file", func(t *testing.T) {
		t.Parallel()
		// Rendering reads no file. Envoy refuses that one secret, says so, and
		// serves every other version; this one is never asked without it.
		good, bad := newModel(t, nil), newModel(t, nil)
		v1, v2 := version("v1", good.addr), version("v2", bad.addr)
		v2.AuthorizationFile = filepath.Join(t.TempDir(), "missing")
		o := testOptions(t)
		o.XDS = porttest.Address(t)
		s := snapshot(t, nil, v1, v2)
		s.Routes = append(s.Routes, s.Routes[0])
		s.Routes[1].Backends = []compile.Backend{{Cluster: v2.Name, Weight: 1}}
		s.Hosts = append(s.Hosts, compile.Host{Domain: "bad.example", Entries: []compile.Entry{{Match: compile.Match{Path: "/"}, Route: 1}}})
		a := serveADS(t, o.XDS, rendered(t, s, o))
		p := startADS(t, o)
		eventually(t, "the other version answers", func() bool {
			r, err := p.try("POST", inferPath, strings.NewReader("{}"))
			return err == nil && r.status == 200
		})
		eventually(t, "the refusal", func() bool { return strings.Contains(a.refusals(), "missing") })
		if r := p.post("host", "bad.example"); r.status == 200 || bad.calls.Load() != 0 {
			t.Errorf("got %d after %d calls without the credential", r.status, bad.calls.Load())
		}
	})
}

// TestTLS: a model behind TLS is asked only with a certificate that its
// authority signed for its name, and gets ours where one is set.
func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	other := newAuthority(t)
	for name, c := range map[string]struct {
		edit func(*compile.Cluster)
		want int
	}{
		"name":    {func(c *compile.Cluster) { c.TLS = &policy.TLS{ServerName: "model.example", CAFile: ca.file} }, 200},
		"address": {func(c *compile.Cluster) { c.TLS = &policy.TLS{CAFile: ca.file} }, 200},
		"host name": {func(c *compile.Cluster) {
			c.TLS = &policy.TLS{CAFile: ca.file}
			c.DNS = true
			c.Endpoints[0].Address = "localhost"
		}, 200},
		"another name":       {func(c *compile.Cluster) { c.TLS = &policy.TLS{ServerName: "other.example", CAFile: ca.file} }, 503},
		"another authority":  {func(c *compile.Cluster) { c.TLS = &policy.TLS{ServerName: "model.example", CAFile: other.file} }, 503},
		"the system's roots": {func(c *compile.Cluster) { c.TLS = &policy.TLS{ServerName: "model.example"} }, 503},
		"no TLS":             {func(c *compile.Cluster) {}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var client atomic.Value
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(r.TLS.PeerCertificates) > 0 {
					client.Store(r.TLS.PeerCertificates[0].Subject.CommonName)
				}
				_, _ = io.WriteString(w, clean)
			}))
			cert, certFile, keyFile := ca.issue(t, "model.example")
			server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(server.Close)
			v := version("v1", server.Listener.Addr().String())
			c.edit(&v)
			if v.TLS != nil {
				v.TLS.CertFile, v.TLS.KeyFile = certFile, keyFile
			}
			o := testOptions(t)
			o.SystemCA = other.file
			r := startStatic(t, snapshot(t, nil, v), o).post()
			if r.status != c.want {
				t.Fatalf("got %d %q, want %d", r.status, r.body, c.want)
			}
			if got, _ := client.Load().(string); c.want == 200 && got != "model.example" {
				t.Errorf("the model saw the client certificate %q", got)
			}
		})
	}
}

// authority signs certificates, and has its own in a file.
type authority struct {
	*certtest.Authority
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{certtest.New(t, "test authority"), filepath.Join(t.TempDir(), "ca.pem")}
	place(t, a.file, a.PEM)
	return a
}

// issue makes a certificate for name, localhost and 127.0.0.1.
func (a *authority) issue(t *testing.T, name string) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	says := certtest.Named(name)
	says.DNSNames = append(says.DNSNames, "localhost")
	certPEM, keyPEM := a.Issue(t, says)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	place(t, certFile, certPEM)
	place(t, keyFile, keyPEM)
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return cert, certFile, keyFile
}

func place(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
