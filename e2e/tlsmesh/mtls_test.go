package tlsmesh

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

const node = "mesh/payments/envoy-1"

// TestTLS has Envoy dial everything of safestate's with certificates, in each form
// of its configuration: that comes, and answers are judged.
func TestTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	config := folder(t, world(share{version: "v1", port: model(t, "v1"), weight: 100}))
	c := startControl(t, config, ca.issued("safestate").serveFlags()...)
	flags := append(ca.issued("mesh/payments").proxyFlags(), "--node-id", node)
	for name, form := range map[string][]string{
		"bootstrap": {"bootstrap"}, "fragment": {"fragment", config}, "fragment over ADS": {"fragment", "--ads"}, "static": {"envoy", config},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.startEnvoy(t, form, nil, flags...)
			defer p.process.Kill() // else two would have one listener
			dataplane.Eventually(t, soon, "answers are judged", p.judges)
			if n := p.number("cluster.safestate_extproc.ssl.handshake"); n < 1 {
				t.Errorf("the processor is dialled with %d handshakes", n)
			}
			if n := p.number("cluster.safestate_xds.ssl.handshake"); n < 1 && name != "static" {
				t.Errorf("the control plane is dialled with %d handshakes", n)
			}
		})
	}
	if c.told("turned away") {
		t.Error("a proxy was turned away")
	}
}

// TestTLSAnswers has a call that only the ladder's own upstream can answer.
func TestTLSAnswers(t *testing.T) {
	ca := newAuthority(t, "ca")
	away := []share{{version: "v1", port: porttest.Free(t), weight: 100}} // nobody is there
	c := startControl(t, folder(t, routeOf("GRPCRoute", "", away)+modelOf(away)+policyOf("GRPCRoute")), ca.issued("safestate").serveFlags()...)
	p := c.startEnvoy(t, []string{"bootstrap"}, nil, append(ca.issued(node).proxyFlags(), "--node-id", node)...)
	dataplane.Eventually(t, soon, "the ladder answers", func() bool { return calls(t, p) })
	if n := p.number("cluster.safestate_answers.ssl.handshake"); n < 1 {
		t.Errorf("the ladder is dialled with %d handshakes", n)
	}
}

// calls reports whether a gRPC call gets the default as a message, by way of the
// ladder's upstream.
func calls(t *testing.T, p *proxy) bool {
	c, err := clients.DialGRPC(p.traffic)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	r := c.Infer(ctx, clients.Message{Model: "fraud"})
	score, ok := r.Output("score")
	return r.Code == codes.OK && r.Meta("x-safestate-source") == "safe_default" && ok && score.Values[0] == 0.5
}

// TestTLSTurnsAway has proxies that are not who they say, and that nobody vouches
// for: none is served anything, while the one that is goes on.
func TestTLSTurnsAway(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	c := startControl(t, folder(t, world(share{version: "v1", port: model(t, "v1"), weight: 100})), ca.issued("safestate").serveFlags()...)
	good := c.startEnvoy(t, []string{"bootstrap"}, nil, append(ca.issued(node).proxyFlags(), "--node-id", node)...)
	dataplane.Eventually(t, soon, "answers are judged", good.judges)

	stranger := other.issued(node)
	place(t, stranger.ca, ca.PEM) // it trusts safestate, and is not trusted
	nameless := ca.issued(node)
	for name, x := range map[string]struct {
		flags  []string
		edit   func(string) string
		denied string // the node that is logged
	}{
		"by another's name":    {flags: append(ca.issued("mesh/payments/envoy-2").proxyFlags(), "--node-id", node+"-other"), denied: node + "-other"},
		"of another authority": {flags: append(stranger.proxyFlags(), "--node-id", node)},
		"expired":              {flags: append(ca.issuedUntil(node, time.Now().Add(-time.Hour)).proxyFlags(), "--node-id", node)},
		"in plain text":        {flags: []string{"--node-id", node}},
		"without a certificate": {flags: append(nameless.proxyFlags(), "--node-id", node), edit: func(text string) string {
			return without(t, text, "tls_certificates:")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.startEnvoy(t, []string{"bootstrap"}, x.edit, x.flags...)
			defer p.process.Kill()
			dataplane.Eventually(t, soon, "it has tried more than once", func() bool {
				return p.number("cluster_manager.cds.update_failure") >= 3
			})
			if n := p.number("cluster_manager.cds.update_success") + p.number("listener_manager.lds.update_success"); n != 0 {
				t.Errorf("it was given %d configurations", n)
			}
			if page := dataplane.Get("http://" + p.admin + "/listeners"); page != "" {
				t.Errorf("it listens: %s", page)
			}
			if x.denied != "" {
				dataplane.Eventually(t, soon, "safestate says whom it turned away", func() bool {
					return c.told("turned away", `"node":"`+x.denied+`"`, "none of the names")
				})
			}
		})
	}
	dataplane.Eventually(t, soon, "the proxy that is known has lost nothing", func() bool {
		return good.judges() && c.metric("safestate_xds_proxies") == "1"
	})
}

// without drops a key and all below it, wherever it is.
func without(t *testing.T, text, key string) string {
	t.Helper()
	var out strings.Builder
	inside := -1
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " ")
		indent := len(line) - len(rest)
		if inside >= 0 && (indent > inside || indent == inside && strings.HasPrefix(rest, "- ")) {
			continue
		}
		inside = -1
		if strings.HasPrefix(rest, key) {
			inside = indent
			continue
		}
		out.WriteString(line)
	}
	if out.Len() == len(text) {
		t.Fatalf("there is no %s in\n%s", key, text)
	}
	return out.String()
}

// TestTLSRenewal has everybody's certificates replaced by another authority's
// while all run. Envoy, whose certificate comes from a secret's file, and
// safestate use the new ones for their next connection.
func TestTLSRenewal(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	until := time.Now().Add(time.Hour)
	server, client := pairIn(t.TempDir()), pairIn(t.TempDir())
	before.renew(server, "safestate", until, before)
	before.renew(client, node, until, before, after) // Envoy reads authorities at its start
	secret := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(secret, render(t, "secret", "--tls-cert", client.cert, "--tls-key", client.key), 0o600); err != nil {
		t.Fatal(err)
	}

	v1, v2 := model(t, "v1"), model(t, "v2")
	config := folder(t, world(share{version: "v1", port: v1, weight: 100}, share{version: "v2", port: v2}))
	c := startControl(t, config, server.serveFlags()...)
	p := c.startEnvoy(t, []string{"bootstrap"}, nil, append(client.proxyFlags(), "--tls-secret", secret, "--node-id", node)...)
	dataplane.Eventually(t, soon, "answers are judged", p.judges)

	serial := mine(p, client)
	after.renew(client, node, until, before, after)
	dataplane.Eventually(t, soon, "Envoy has read its new certificate", func() bool { now := mine(p, client); return now != "" && now != serial })
	after.renew(server, "safestate", until, after)
	if !p.judges() {
		t.Error("what is connected is not judged any more")
	}

	// Neither is started again: a process that is stopped loses its connections.
	if err := c.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	dataplane.Eventually(t, soon, "Envoy gives up its connections", func() bool {
		return p.stat("cluster.safestate_xds.upstream_cx_active") == "0" && p.stat("cluster.safestate_extproc.upstream_cx_active") == "0" ||
			p.stat("control_plane.connected_state") == "0"
	})
	if err := c.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	dataplane.Eventually(t, soon, "answers are judged over new connections", p.judges)
	rewrite(t, config, world(share{version: "v1", port: v1}, share{version: "v2", port: v2, weight: 100}))
	dataplane.Eventually(t, soon, "a change comes over a new connection", func() bool { return p.score().Header.Get(versionHeader) == "v2" })
	if c.told("cannot be used") {
		t.Error("a renewed file could not be used")
	}
}

// mine is what Envoy's admin interface tells of Envoy's own certificates. One
// from a secret has no path there.
func mine(p *proxy, files pair) string {
	page := dataplane.Get("http://" + p.admin + "/certs")
	_, chain, _ := strings.Cut(page, `"cert_chain"`)
	_, serial, _ := strings.Cut(chain, `"serial_number"`)
	serial, _, _ = strings.Cut(serial, ",")
	return serial
}
