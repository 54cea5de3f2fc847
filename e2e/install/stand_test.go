package install

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

const hostOfControl = "safestate-control." + own + ".svc.cluster.local"

// patience bounds every wait.
const patience = 60 * time.Second

// cell is a cluster in which safestate is installed: the chart's objects are in the
// API server, and its containers run as processes on this machine, by their own
// arguments and with their service account's token.
type cell struct {
	t       *testing.T
	api     *cluster.API
	objects []object
	account *cluster.User // of the control plane
	own     *authority    // of safestate's certificates
	mesh    *authority    // of Istio's
	tls     string        // the folder of their Secret
	roots   string        // of Istio's ConfigMap
	sockets string        // that a gateway's pod shares
	pods    []*pod
}

// pod is one container.
type pod struct {
	*dataplane.Process
	name, grpc, answers, http string
	args                      []string
}

// newCell installs the chart, as an administrator does.
func newCell(t *testing.T, flags ...string) *cell {
	t.Helper()
	quick := values{"processor": values{"leaveSeconds": 12}} // the DNS here remembers nothing
	c := &cell{t: t, objects: render(t, quick), own: newAuthority(t, "safestate"), mesh: newAuthority(t, "istio")}
	c.api = cluster.StartAPI(t, cluster.Options{
		CRDs: []cluster.CRDs{cluster.Safestate, cluster.GatewayAPI, cluster.Istio}, Namespaces: []string{cluster.RootNamespace, "models"}, Flags: flags,
	})
	c.api.Admin.Apply(t, "test", read(t, "istio/install/kustomize/namespace.yaml"))
	c.api.Admin.Apply(t, "helm", textOf(t, c.objects))
	c.account = c.api.ServiceAccount(t, own, "safestate-control")
	c.tls = c.own.secret("safestate-processor."+own+".svc.cluster.local", "localhost")
	var err error
	c.roots = folder(t, map[string]string{"root-cert.pem": string(c.mesh.PEM)})
	if c.sockets, err = os.MkdirTemp("", "safestate"); err != nil { // a socket's path is short
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(c.sockets) })
	return c
}

// run starts a container of a workload. Its files and addresses are those of this
// machine; extra arguments come last and hold.
func (c *cell) run(kind, workload, name string, extra ...string) *pod {
	c.t.Helper()
	return c.container(name, asList(find(c.t, c.objects, kind, workload).at("spec", "template", "spec", "containers", 0, "args")), extra...)
}

func (c *cell) container(name string, args []any, extra ...string) *pod {
	c.t.Helper()
	p := &pod{name: name}
	for _, address := range []*string{&p.grpc, &p.answers, &p.http} {
		*address = porttest.Address(c.t)
	}
	access := folder(c.t, map[string]string{"access.yaml": fmt.Sprint(find(c.t, c.objects, "ConfigMap", "safestate-access").at("data", "access.yaml"))})
	here := strings.NewReplacer(
		"/etc/safestate/tls/", c.tls+"/", "/etc/safestate/mesh/", c.roots+"/", "/etc/safestate/access/", access+"/", "/data/", c.t.TempDir()+"/", "/var/run/safestate/", c.sockets+"/",
		"="+hostOfControl+":18000", "="+c.controls(), "="+name+"."+hostOfControl+":18000", "="+p.grpc, "=:18000", "="+p.grpc, "=:18001", "="+p.answers, "=:8686", "="+p.http)
	for _, a := range args {
		p.args = append(p.args, here.Replace(strings.ReplaceAll(fmt.Sprint(a), "$(POD_NAME)", name)))
	}
	p.args = append(p.args, extra...)
	c.start(p)
	c.pods = append(c.pods, p)
	return p
}

// controls are the addresses of the control plane's replicas, as DNS has them.
func (c *cell) controls() string {
	var out []string
	for _, p := range c.pods {
		if strings.HasPrefix(p.name, "safestate-control") {
			out = append(out, p.grpc)
		}
	}
	return strings.Join(out, ",")
}

// start starts a container, again where it has ended.
func (c *cell) start(p *pod) {
	c.t.Helper()
	p.Process = dataplane.Spawn(c.t, p.name, dataplane.Program(c.t, "safestate"), p.args...)
	dataplane.Eventually(c.t, patience, p.name+" is ready", func() bool {
		if p.Exited() {
			c.t.Fatalf("%s ended: %s", p.name, p.Log())
		}
		return ready(p.http)
	})
}

// stop ends a container as the kubelet does.
func (c *cell) stop(p *pod) {
	c.t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	if err := p.WaitExit(patience); err != nil {
		c.t.Errorf("%s on SIGTERM: %v", p.name, err)
	}
}

// control starts a replica of the StatefulSet.
func (c *cell) control(n int, extra ...string) *pod {
	c.t.Helper()
	return c.run("StatefulSet", "safestate-control", fmt.Sprintf("safestate-control-%d", n),
		append([]string{"--kubeconfig", c.account.Kubeconfig, "--namespace", own}, extra...)...)
}

// unverified asks as the kubelet's probes do.
var unverified = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a probe

func ready(address string) bool {
	resp, err := unverified.Get("https://" + address + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // the status says it
	return resp.StatusCode == http.StatusOK
}

// command runs safestate in a control plane's container, as kubectl exec does.
func (c *cell) command(p *pod, args ...string) (string, error) {
	c.t.Helper()
	return dataplane.Run(c.t.Context(), c.t, "safestate", append(args, "--server", "https://"+p.http, "--ca", filepath.Join(c.tls, "ca.crt"))...)
}

// filters are safestate's EnvoyFilters as kubectl shows them; empty: there are none.
func (c *cell) filters() string {
	c.t.Helper()
	out, err := cluster.Kubectl(c.t, c.api.Admin, "", "get", "envoyfilters", "-A", "-l", "app.kubernetes.io/managed-by=safestate", "-o", "jsonpath={.items}")
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimPrefix(out, "[]")
}
