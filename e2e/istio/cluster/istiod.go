package cluster

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// RootNamespace is where istiod lives and where its mesh-wide configuration is.
const RootNamespace = "istio-system"

// IstiodOptions change what StartIstiod starts.
type IstiodOptions struct {
	// Env are variables beside those that stock Envoy makes necessary.
	Env map[string]string
	// Mesh is added to the mesh configuration, in YAML.
	Mesh string
}

// Istiod is a pilot-discovery on 127.0.0.1 that reads an API server. Its methods
// are for one goroutine at a time.
type Istiod struct {
	// XDS, HTTP and Metrics are host:port: of the plaintext ADS server, of
	// /ready and /debug, and of /metrics.
	XDS, HTTP, Metrics string
	// Process is the one that was started last.
	Process *dataplane.Process

	t    testing.TB
	api  *API
	opts IstiodOptions
	mesh string
}

// stockEnvoy are istiod's settings for an Envoy that is not istio-proxy: none of
// Istio's own filters, no certificates, no injection. Gateways are not deployed
// by istiod: nothing runs Deployments.
var stockEnvoy = map[string]string{
	"PILOT_ENABLE_METADATA_EXCHANGE":                 "false",
	"PILOT_ENABLE_ALPN_FILTER":                       "false",
	"PILOT_DISABLE_MX_ALPN":                          "true",
	"ENABLE_CA_SERVER":                               "false",
	"INJECT_ENABLED":                                 "false",
	"PILOT_CERT_PROVIDER":                            "none",
	"VALIDATION_WEBHOOK_CONFIG_NAME":                 "",
	"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "false",
}

// plaintext has no sidecar wait for certificates that nobody issues here.
const plaintext = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: ` + RootNamespace + `}
spec: {mtls: {mode: DISABLE}}
`

// StartIstiod starts istiod on an API server that has Istio's kinds and the
// namespace RootNamespace, and waits until it is ready. It ends with the test.
func StartIstiod(t testing.TB, api *API, opts IstiodOptions) *Istiod {
	t.Helper()
	i := &Istiod{t: t, api: api, opts: opts, mesh: filepath.Join(t.TempDir(), "mesh.yaml")}
	for _, address := range []*string{&i.XDS, &i.HTTP, &i.Metrics} {
		*address = porttest.Address(t)
	}
	mesh := "enableAutoMtls: false\nrootNamespace: " + RootNamespace + "\n" + opts.Mesh
	if err := os.WriteFile(i.mesh, []byte(mesh), 0o600); err != nil {
		t.Fatal(err)
	}
	api.Admin.Apply(t, "test", plaintext)
	i.Start()
	return i
}

// Start starts it again after Stop or Kill, on the same ports.
func (i *Istiod) Start() {
	i.t.Helper()
	env := maps.Clone(stockEnvoy)
	env["POD_NAMESPACE"], env["POD_NAME"] = RootNamespace, "istiod"
	maps.Copy(env, i.opts.Env)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	i.Process = dataplane.SpawnEnv(i.t, "istiod", list, pilotDiscovery.find(i.t), "discovery",
		"--kubeconfig", i.api.Admin.Kubeconfig, "--registries", "Kubernetes", "--meshConfig", i.mesh,
		"--grpcAddr", i.XDS, "--httpAddr", i.HTTP, "--monitoringAddr", i.Metrics, "--httpsAddr", "", "--secureGRPCAddr", "",
		"--ctrlz_port", "0")
	dataplane.Eventually(i.t, within, "istiod is ready", every(readyPoll, func() bool {
		if i.Process.Exited() {
			i.t.Fatalf("istiod ended: %v", i.Process.WaitExit(0))
		}
		return i.ready()
	}))
}

// ready asks /ready, whose 200 has no body.
func (i *Istiod) ready() bool {
	status, _ := get("http://" + i.HTTP + "/ready")
	return status == http.StatusOK
}

// Stop ends it by SIGTERM.
func (i *Istiod) Stop() {
	i.t.Helper()
	signal(i.t, i.Process, syscall.SIGTERM)
	if err := i.Process.WaitExit(within); err != nil {
		i.t.Fatalf("istiod on SIGTERM: %v", err)
	}
}

// Kill ends it at once.
func (i *Istiod) Kill() { i.Process.Kill() }

// Freeze stops it where it stands until Thaw: its connections stay open.
func (i *Istiod) Freeze() { signal(i.t, i.Process, syscall.SIGSTOP) }

// Thaw has it go on after Freeze.
func (i *Istiod) Thaw() { signal(i.t, i.Process, syscall.SIGCONT) }
