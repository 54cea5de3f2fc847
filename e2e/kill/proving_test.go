package kill

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/porttest"
)

var requests = flag.Int("requests", 10_000, "how many requests are tried after a proof")

// provenRows are a prediction, a chat with its streams, a call, and what no policy
// covers.
var provenRows = []string{"v2", "chat", "grpc-answer", "plain", "plain-grpc"}

// ingress is a real Envoy of two workers.
type ingress struct {
	node, listen, admin string
	config              string // file
	process             *dataplane.Process
	http                *dataplane.Client
	grpc                *clients.GRPC
}

// start starts it, also again after it was killed.
func (in *ingress) start(t *testing.T) {
	t.Helper()
	in.process = dataplane.StartEnvoy(t, in.config, in.admin)
}

// proving is a real safestate with two Envoys, each on a machine of its own as far as
// addresses tell: one has all its configuration from safestate, the other is a user's
// own, whose filters have Envoy try again what fails.
type proving struct {
	t, top    *testing.T // of a part, of all
	dir       string
	control   *half
	api       *admin.Client
	ingresses []*ingress
	rows      []*row
	first     map[string]*target // of each row
	second    map[string]*target // that is killed first
}

const (
	whole = "gateway-whole"
	own   = "gateway-own"
)

// newProving starts all of it, and waits until every version is asked through both.
func newProving(t *testing.T) *proving {
	t.Helper()
	p := &proving{t: t, top: t, dir: t.TempDir(), first: map[string]*target{}, second: map[string]*target{}}
	var text strings.Builder
	for _, name := range provenRows {
		r := rowOf(t, name)
		p.rows = append(p.rows, r)
		p.first[name], p.second[name] = startTarget(t, r.live), startTarget(t, secondAnswer(r))
		text.WriteString(r.objects(versions{p.first[name].model, p.second[name].model}, extra{weights: [2]int{50, 50}, model: "rollout: {automatic: Disabled}"}))
	}
	if err := os.WriteFile(filepath.Join(p.dir, "world.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := porttest.Address(t)
	p.control = newHalf(t, "--config", p.dir, "--traffic", listen)
	p.control.start()
	var err error
	if p.api, err = admin.NewClient("http://"+p.control.http, admin.ClientOptions{User: "tester"}); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	p.ingress(whole, listen, "bootstrap")
	p.ingress(own, net.JoinHostPort(elsewhere, port), "fragment", p.dir)
	for _, in := range p.ingresses {
		in.start(t)
		p.reached(in)
	}
	return p
}

// elsewhere is another address of this machine, which stands for another machine.
const elsewhere = "127.0.0.2"

// secondAnswer tells the second version's answers from the first one's.
func secondAnswer(r *row) string { return strings.Replace(r.live, "0.25", "0.75", 1) }

// ingress prepares an Envoy by what safestate prints for it.
func (p *proving) ingress(node, listen string, render ...string) {
	p.t.Helper()
	in := &ingress{node: node, listen: listen, admin: porttest.Address(p.t)}
	args := append([]string{"render"}, render...)
	cmd := exec.Command(dataplane.Program(p.t, "safestate"), append(args, "--node-id", node, "--traffic", listen, "--envoy-admin", in.admin,
		"--processor", p.control.grpc, "--answers-upstream", p.control.answers)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("render %s: %v\n%s", render[0], err, &complaints)
	}
	if node == own {
		text = ownedConfig(p.t, text)
	}
	in.config = filepath.Join(p.t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(in.config, text, 0o600); err != nil {
		p.t.Fatal(err)
	}
	in.http = dataplane.NewClient(listen)
	p.t.Cleanup(in.http.Close)
	if in.grpc, err = clients.DialGRPC(listen); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(in.grpc.Close)
	p.ingresses = append(p.ingresses, in)
}

// ownedConfig makes the fragment a user's own: a filter in front has Envoy try again
// what fails, and safestate is dialled from the address on which it takes traffic.
func ownedConfig(t *testing.T, text []byte) []byte {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	manager, _ := dataplane.HTTPFilters(t, config)
	filters, _ := manager["http_filters"].([]any)
	manager["http_filters"] = append([]any{map[string]any{"name": "retries", "typed_config": map[string]any{
		"@type":     "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
		"mutations": map[string]any{"request_mutations": []any{appendHeader("x-envoy-retry-on", "5xx,reset,connect-failure"), appendHeader("x-envoy-max-retries", "15")}},
	}}}, filters...)
	for _, c := range dataplane.List(dataplane.Object(config, "static_resources"), "clusters") {
		if c["name"] == "safestate_xds" {
			c["upstream_bind_config"] = map[string]any{"source_address": map[string]any{"address": elsewhere, "port_value": 0}}
		}
	}
	out, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func appendHeader(name, value string) map[string]any {
	return map[string]any{"append": map[string]any{"header": map[string]any{"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
}

// reached waits until both versions of every row answer.
func (p *proving) reached(in *ingress) {
	p.t.Helper()
	for _, r := range p.rows {
		for _, x := range []*target{p.first[r.name], p.second[r.name]} {
			dataplane.Eventually(p.t, soon, r.name+" answers through "+in.node, func() bool {
				before := x.asked.Load()
				return in.ask(r, nil).body != "" && x.asked.Load() > before
			})
		}
	}
}

// retries reports whether what fails at a row is tried again at its model, or nobody
// minds: under a policy failures open a breaker, and it is asked no more. What fails
// under the policy of a call is the ladder's.
func (in *ingress) retries(r *row) bool {
	return r.standard == "" || in.node == own && r.lastRung == ""
}

// ask asks for a prediction with headers.
func (in *ingress) ask(r *row, header http.Header) outcome {
	if r.lastRung == "" {
		a := in.http.Do(dataplane.Request{Path: "/" + r.name + r.path, Body: []byte(r.request), Header: header})
		if a.Err != nil {
			return outcome{reason: a.Err.Error()}
		}
		return outcome{status: a.Status, source: a.Source(), reason: a.Reason(), body: string(a.Body)}
	}
	ctx, cancel := callTo(r, header)
	defer cancel()
	a := in.grpc.Infer(ctx, clients.Message{Model: "m"})
	out := outcome{code: a.Code, source: a.Meta("x-safestate-source"), reason: a.Meta("x-safestate-reason")}
	if o, ok := a.Output("score"); ok && len(o.Values) == 1 {
		text, _ := json.Marshal(o.Values[0])
		out.body = string(text)
	}
	return out
}

// proof is what safestate knows of a target.
func (p *proving) proof(target string) (admin.KillProof, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	a, err := p.api.KillProof(ctx, target)
	return a.Value, err == nil
}
