package tlsmesh

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// twoRoutes are a route that fails closed while its policy cannot be used, and one
// that fails open.
func twoRoutes(port int) string {
	s := share{version: "v1", port: port, weight: 100}
	text := world(s)
	open := strings.NewReplacer(
		"metadata: {name: fraud,", "metadata: {name: open,", "value: /v2/models/fraud}", "value: /open/v2/models/fraud}",
		"name: fraud, sectionName", "name: open, sectionName", "  deadline: 20s\n", "  deadline: 20s\n  whenProcessorAway: Pass\n",
	)
	return text + "---\n" + open.Replace(routeOf("HTTPRoute", "    matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]\n", []share{s})+policyOf("HTTPRoute"))
}

const openPath = "/open" + scorePath

// far is a safestate that other machines can dial, by certificates: unsigned
// policies are refused there.
func far(t *testing.T, ca *authority, config string, flags ...string) *control {
	t.Helper()
	_, port, _ := strings.Cut(porttest.Address(t), ":")
	c := startControl(t, config, append(append(ca.issued("safestate").serveFlags(), "--grpc", "0.0.0.0:"+port), flags...)...)
	c.grpc = "127.0.0.1:" + port
	return c
}

// command runs safestate and returns what it prints.
func command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(dataplane.Program(t, "safestate"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("safestate %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// edited changes what each route of a configuration carries, by the route's name.
func edited(t *testing.T, change func(carried map[string]map[string]any)) func(string) string {
	return func(text string) string {
		var config any
		if err := yaml.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		carried := map[string]map[string]any{}
		var walk func(any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				ours, _ := dataplane.Object(dataplane.Object(v, "metadata"), "filter_metadata")["safestate"].(map[string]any)
				if name, _ := v["name"].(string); ours != nil {
					carried[name] = ours
				}
				for _, inner := range v {
					walk(inner)
				}
			case []any:
				for _, inner := range v {
					walk(inner)
				}
			}
		}
		walk(config)
		change(carried)
		out, err := json.Marshal(config) // JSON is YAML
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
}

const (
	closedRoute = "default/fraud/score"
	openRoute   = "default/open/score"
)

// TestSignedPolicies has Envoys bring policies to a processor that others can dial:
// what the control plane signs, and what somebody signed with a key that is trusted,
// judges; whatever else is refused, upon which each route does what it says for a
// processor that is away.
func TestSignedPolicies(t *testing.T) {
	ca := newAuthority(t, "ca")
	dir := t.TempDir()
	mine, foreign, public := filepath.Join(dir, "mine.pem"), filepath.Join(dir, "foreign.pem"), filepath.Join(dir, "public.pem")
	if err := os.WriteFile(public, []byte(command(t, "keys", "generate", mine)), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "keys", "generate", foreign)
	config := folder(t, twoRoutes(model(t, "v1")))
	c := far(t, ca, config, "--policy-keys", public)
	flags := append(ca.issued("mesh/payments").proxyFlags(), "--node-id", node)

	both := func(change func(ours map[string]any)) func(map[string]map[string]any) {
		return func(carried map[string]map[string]any) {
			change(carried[closedRoute])
			change(carried[openRoute])
		}
	}
	for _, x := range []struct {
		name    string
		form    []string
		change  func(carried map[string]map[string]any)
		refused string // the cause; "": it judges
	}{
		{name: "over ADS", form: []string{"bootstrap"}},
		{name: "rendered offline", form: []string{"envoy", config, "--signing-key", mine}},
		{name: "unsigned", form: []string{"envoy", config}, refused: "unsigned"},
		{name: "by a foreign key", form: []string{"envoy", config, "--signing-key", foreign}, refused: "unknown_key"},
		{name: "tampered", form: []string{"envoy", config, "--signing-key", mine}, refused: "wrong_signature", change: both(func(ours map[string]any) {
			ours["policy"] = strings.Replace(ours["policy"].(string), `"deadline":"20s"`, `"deadline":"21s"`, 1)
		})},
		{name: "the signature cut", form: []string{"envoy", config, "--signing-key", mine}, refused: "malformed", change: both(func(ours map[string]any) {
			ours["policy_signature"] = strings.TrimRight(ours["policy_signature"].(string), "=")[:60]
		})},
		{name: "copied from the other route", form: []string{"envoy", config, "--signing-key", mine}, refused: "other_route", change: func(carried map[string]map[string]any) {
			a, b := carried[closedRoute], carried[openRoute]
			a["policy"], a["policy_signature"], b["policy"], b["policy_signature"] = b["policy"], b["policy_signature"], a["policy"], a["policy_signature"]
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			var edit func(string) string
			if x.change != nil {
				edit = edited(t, x.change)
			}
			p := c.startEnvoy(t, x.form, edit, flags...)
			defer p.process.Kill() // else two would have one listener
			if x.refused == "" {
				dataplane.Eventually(t, soon, "answers are judged", p.judges)
				bad := p.client.Do(dataplane.Request{Path: openPath, Header: http.Header{ask: {"nan"}}, Body: []byte(`{"inputs":[]}`)})
				if string(bad.Body) != safeDefault || !strings.HasPrefix(bad.Reason(), "nonfinite") {
					t.Errorf("the other route: %d %s %s", bad.Status, bad.Body, bad.Reason())
				}
				return
			}
			before := c.count(`safestate_policies_refused_total{cause="` + x.refused + `"}`)
			dataplane.Eventually(t, soon, "Envoy takes traffic", func() bool { return p.score().Err == nil })
			closed := p.score(ask, "nan")
			if closed.Status != http.StatusOK || string(closed.Body) != safeDefault || closed.Reason() != "processor_away" {
				t.Errorf("the route that fails closed: %d %s, reason %q", closed.Status, closed.Body, closed.Reason())
			}
			open := p.client.Do(dataplane.Request{Path: openPath, Header: http.Header{ask: {"nan"}}, Body: []byte(`{"inputs":[]}`)})
			if open.Status != http.StatusOK || string(open.Body) != nanAnswer || open.Source() != "" {
				t.Errorf("the route that fails open: %d %s, source %q", open.Status, open.Body, open.Source())
			}
			dataplane.Eventually(t, soon, "three refusals are counted", func() bool {
				return c.count(`safestate_policies_refused_total{cause="`+x.refused+`"}`)-before >= 3
			})
			dataplane.Eventually(t, soon, "/readyz tells of it", func() bool {
				return strings.Contains(dataplane.Get("http://"+c.http+"/readyz"), `"cause": "`+x.refused+`"`)
			})
			if status := command(t, "status", "--server", "http://"+c.http); !strings.Contains(status, "policies are refused") {
				t.Errorf("status does not tell of it:\n%s", status)
			}
		})
	}
}

// count is the value of one sample; 0 where there is none.
func (c *control) count(sample string) (n float64) {
	text := c.metric(sample)
	if text != "" {
		_ = json.Unmarshal([]byte(text), &n)
	}
	return n
}

// TestUnsignedOnThisMachine: where nobody else can dial the processor, an Envoy
// whose configuration was rendered without a key is served as ever.
func TestUnsignedOnThisMachine(t *testing.T) {
	config := folder(t, twoRoutes(model(t, "v1")))
	c := startControl(t, config)
	for _, form := range [][]string{{"envoy", config}, {"bootstrap"}} {
		p := c.startEnvoy(t, form, nil)
		dataplane.Eventually(t, soon, "answers are judged", p.judges)
		p.process.Kill()
	}
	tampered := c.startEnvoy(t, []string{"bootstrap"}, nil)
	dataplane.Eventually(t, soon, "answers are judged", tampered.judges)
	if n := c.count(`safestate_policies_refused_total{cause="unsigned"}`); n != 0 {
		t.Errorf("%v refusals", n)
	}
}
