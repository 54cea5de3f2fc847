package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/envoy"
)

// binary is the command under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(withBinary(m.Run))
}

func withBinary(run func() int) int {
	dir, err := os.MkdirTemp("", "safestate")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "safestate")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
		return 1
	}
	return run()
}

// ran is how a command ended.
type ran struct {
	exit           int
	stdout, stderr string
}

func run(t *testing.T, args ...string) ran {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = t.TempDir() // what it makes by default goes there
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var failed *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

const good = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: score
    matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs: [{name: fraud-v1, port: 80, weight: 100}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 9101}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud, sectionName: score}]
  mode: Enforce
  deadline: 300ms
  detect: {nonFinite: {}}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'}
`

// folder is a configuration folder; files are pairs of name and text.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestValidate(t *testing.T) {
	dir := folder(t, "fraud.yaml", good)
	got := run(t, "validate", dir)
	if want := dir + ": 1 routes, 1 with a policy, 1 model versions: valid\n"; got.exit != 0 || got.stdout != want || got.stderr != "" {
		t.Errorf("a good folder: %+v", got)
	}
	warned := folder(t, "fraud.yaml", strings.Replace(good, "weight: 100", "weight: 0", 1))
	got = run(t, "validate", warned)
	if got.exit != 0 || !strings.Contains(got.stdout, "fraud.yaml:") || !strings.Contains(got.stdout, ": warning: ") || !strings.Contains(got.stdout, ": valid\n") {
		t.Errorf("a warning: %+v", got)
	}
	for name, c := range map[string]struct {
		dir  string
		want []string
	}{
		"mistakes in two files": {
			folder(t, "a.yaml", strings.Replace(good, "deadline: 300ms", "deadline: 300us", 1), "b.yaml", "kind: Nothing\n"),
			[]string{"a.yaml:25: spec.deadline: ", "b.yaml:1: "},
		},
		"a mistake that only compiling finds": {
			folder(t, "a.yaml", strings.Replace(good, "detect: {nonFinite: {}}", "detect: {cel: [{name: x, expression: '1 + true'}]}", 1)),
			[]string{"a.yaml:26: spec.detect.cel[0].expression: "},
		},
		"an empty folder": {folder(t), []string{"has no *.yaml"}},
		"no folder":       {filepath.Join(dir, "none"), []string{"none: cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, "validate", c.dir)
			if got.exit != 1 || got.stderr != "" || strings.Contains(got.stdout, ": valid") {
				t.Errorf("%+v, want the mistakes on standard output and exit 1", got)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("no %q in:\n%s", want, got.stdout)
				}
			}
		})
	}
}

// bootstrap reads what a command printed as Envoy does, unknown fields being
// errors.
func bootstrap(t *testing.T, got ran) *bootstrapv3.Bootstrap {
	t.Helper()
	if got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	j, err := yaml.YAMLToJSONStrict([]byte(got.stdout))
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(j, &b); err != nil {
		t.Fatalf("%v in:\n%s", err, got.stdout)
	}
	return &b
}

func clusters(b *bootstrapv3.Bootstrap) string {
	var names []string
	for _, c := range b.GetStaticResources().GetClusters() {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func TestRenderEnvoy(t *testing.T) {
	dir := folder(t, "fraud.yaml", good)
	b := bootstrap(t, run(t, "render", "envoy", dir, "--traffic", "127.0.0.1:12345", "--envoy-admin", "127.0.0.1:12346", "--node-id", "n1"))
	if l := b.GetStaticResources().GetListeners(); len(l) != 1 || l[0].GetAddress().GetSocketAddress().GetPortValue() != 12345 {
		t.Errorf("listeners: %v", l)
	}
	if got := clusters(b); !strings.Contains(got, "default/fraud/v1") || !strings.Contains(got, envoy.ProcessorClusterName) {
		t.Errorf("clusters: %s", got)
	}
	if b.GetAdmin().GetAddress().GetSocketAddress().GetPortValue() != 12346 || b.GetNode().GetId() != "n1" || b.GetDynamicResources() != nil {
		t.Errorf("admin %v, node %v, dynamic %v", b.Admin, b.Node, b.DynamicResources)
	}
	bad := run(t, "render", "envoy", folder(t, "a.yaml", strings.Replace(good, "deadline: 300ms", "deadline: 300us", 1)))
	if bad.exit != 1 || bad.stdout != "" || !strings.Contains(bad.stderr, "a.yaml:25: spec.deadline: ") {
		t.Errorf("a bad folder: %+v", bad)
	}
	warned := run(t, "render", "envoy", folder(t, "a.yaml", strings.Replace(good, "weight: 100", "weight: 0", 1)))
	if !strings.Contains(warned.stderr, ": warning: ") {
		t.Errorf("a warning is not told: %q", warned.stderr)
	}
	bootstrap(t, warned) // and is not in the YAML
}

func TestRenderBootstrap(t *testing.T) {
	b := bootstrap(t, run(t, "render", "bootstrap", "--processor", "unix:/run/safestate.sock"))
	if got := clusters(b); !strings.Contains(got, envoy.XDSClusterName) {
		t.Errorf("clusters: %s", got)
	}
	if b.GetDynamicResources().GetAdsConfig() == nil {
		t.Error("it does not ask safestate for its configuration")
	}
	if path := b.GetStaticResources().GetClusters()[0].GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetPipe().GetPath(); path != "/run/safestate.sock" {
		t.Errorf("it goes to %q", path)
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	dir := folder(t, "fraud.yaml", good)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown command":        {[]string{"frobnicate"}, `unknown command "frobnicate"`},
		"an unknown thing":          {[]string{"render", "envy", dir}, `unknown command "envy" for "safestate render"`},
		"an unknown flag":           {[]string{"serve", "--prot", "1"}, "unknown flag: --prot; see safestate serve --help"},
		"an unknown flag, render":   {[]string{"render", "envoy", dir, "--http", "x"}, "unknown flag: --http; see safestate render envoy --help"},
		"an unknown flag, validate": {[]string{"validate", "--strict", dir}, "unknown flag: --strict; see safestate validate --help"},
		"no --config":               {[]string{"serve"}, "--role all needs a configuration: name its folder by --config"},
		"a role that is none":       {[]string{"serve", "--config", dir, "--role", "both"}, `--role "both" is none: want all, extproc or control`},
		"a role's own folder":       {[]string{"serve", "--config", dir, "--role", "extproc"}, "leave out --config"},
		"a plane of its own":        {[]string{"serve", "--config", dir, "--control", "127.0.0.1:1"}, "--control is for --role extproc"},
		"half a certificate":        {[]string{"serve", "--config", dir, "--data-dir", t.TempDir(), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--answers", "127.0.0.1:0", "--tls-cert", "x.pem"}, "give all three or none"},
		"two stores":                {[]string{"serve", "--config", dir, "--no-releases", "--etcd-endpoints", "127.0.0.1:1"}, "exclude each other"},
		"a word too many":           {[]string{"serve", "--config", dir, "now"}, `"now"`},
		"no folder to validate":     {[]string{"validate"}, "accepts 1 arg(s), received 0"},
		"a level that is none":      {[]string{"serve", "--config", dir, "--log-level", "loud"}, `--log-level "loud" is none: want debug, info, warn or error`},
		"an empty level":            {[]string{"serve", "--config", dir, "--log-level", ""}, `--log-level "" is none`},
		"a level that hides errors": {[]string{"serve", "--config", dir, "--log-level", "disabled"}, `--log-level "disabled" is none`},
		"a level by number":         {[]string{"serve", "--config", dir, "--log-level", "5"}, `--log-level "5" is none`},
		"no time to drain":          {[]string{"serve", "--config", dir, "--drain", "-1s"}, "--drain is -1s: want 0"},
		"a duration that is none":   {[]string{"serve", "--config", dir, "--drain", "soon"}, `invalid argument "soon" for "--drain" flag`},
		"no room for bodies":        {[]string{"serve", "--config", dir, "--max-bodies-bytes", "1000"}, "--max-bodies-bytes is 1000: want at least 1048576"},
		"a Redis that is none":      {[]string{"serve", "--config", dir, "--redis", "nonsense"}, "--redis: "},
		"an address that is none":   {[]string{"render", "envoy", dir, "--processor", "nowhere"}, `"nowhere" is no address`},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, c.args...)
			if got.exit != 1 || got.stdout != "" || !strings.HasPrefix(got.stderr, "safestate: ") || !strings.Contains(got.stderr, c.want) {
				t.Errorf("%+v, want exit 1 and %q", got, c.want)
			}
			if strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("more than one line: %q", got.stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {}, {"render"}, {"serve", "--help"}} {
		if got := run(t, args...); got.exit != 0 || !strings.Contains(got.stdout, "Usage:") || got.stderr != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := run(t, "--version"); got.exit != 0 || !strings.Contains(got.stdout, "v0.0.0-test") {
		t.Errorf("--version: %+v", got)
	}
}

// field reads one field of a line of the log.
func field(line, name string) string {
	var fields map[string]any
	if json.Unmarshal([]byte(line), &fields) != nil {
		return ""
	}
	text, _ := fields[name].(string)
	return text
}
