package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// Times of the generated policies. The model gets the deadline less the
// fallback's and a little: on a busy machine a clean answer has to fit.
const (
	deadline      = 600 * time.Millisecond
	deadlineGrace = 50 * time.Millisecond
)

// times are a policy's: for the whole answer, and for the fallback's in it.
type times struct{ deadline, fallback time.Duration }

var (
	// inTime are for tests that hold answers to their deadline.
	inTime = times{deadline, 200 * time.Millisecond}
	// calmly are for tests that are about something else: a machine that is busy for
	// seconds changes no answer.
	calmly = times{12 * time.Second, 5 * time.Second}
)

// fallbackIn gives the fallback of a rendered template its time.
func (of times) fallbackIn(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte("deadline: 200ms"), []byte("deadline: "+of.fallback.String()))
}

// group is a set of detectors that stand in one policy, so that a reason has
// one cause.
type group struct {
	name   string
	detect func(dialect) string // the policy's detect, YAML in flow style or indented by four
	// breaker and limit; empty: one that does not open, 1 MiB.
	breaker string
	limit   string
}

const patient = "{failures: 1000}"

var groups = []group{
	{name: "main", detect: func(d dialect) string {
		return "    nonFinite: " + d.nonFinite + "\n    broken: {statuses: [429]}\n    late: {}" + d.declared
	}},
	{name: "breaker", breaker: "{failures: 3, recovery: 1s, halfOpenRequests: 1, ramp: 1ms}", detect: func(d dialect) string {
		return "    nonFinite: " + d.nonFinite
	}},
	{name: "value", detect: func(d dialect) string {
		return "    nonFinite: {mode: Disabled" + paths(d) + "}\n    confidence: {value: \"" + d.confidence + "\", aggregate: Min, min: 0.6}"
	}},
	{name: "maximum", detect: func(d dialect) string {
		return "    nonFinite: " + d.nonFinite + "\n    confidence: {value: \"" + d.probs + "\", aggregate: Max, min: 0.4}"
	}},
	{name: "margin", detect: func(d dialect) string {
		return "    nonFinite: " + d.nonFinite + "\n    confidence: {value: \"" + d.probs + "\", aggregate: Margin, min: 0.1}"
	}},
	{name: "contract", detect: func(d dialect) string {
		return "    nonFinite: " + d.nonFinite + "\n    outputs: " + d.outputs + "\n    contract: " + d.contract
	}},
	{name: "constant", detect: func(d dialect) string {
		return "    nonFinite: " + d.nonFinite + "\n    constant: {window: 1m, minRequests: 12, minInputs: 10}"
	}},
	{name: "req-answer", limit: "{bytes: 4096, requestOver: Answer}", detect: requestChecks("Answer")},
	{name: "req-reject", limit: "{bytes: 4096, requestOver: Reject}", detect: requestChecks("Reject")},
	{name: "req-pass", limit: "{bytes: 4096, requestOver: Pass}", detect: requestChecks("Pass")},
}

// paths repeats a JSON detector's paths, which have to stand there even where
// it is off.
func paths(d dialect) string {
	if d.kind != "JSON" {
		return ""
	}
	return ", " + strings.TrimSuffix(strings.TrimPrefix(d.nonFinite, "{"), "}")
}

func requestChecks(onFail string) func(dialect) string {
	return func(d dialect) string {
		return "    nonFinite: " + d.nonFinite + fmt.Sprintf(`
    request:
    - {field: "%s", required: true, type: Number, min: 0, max: 1000000, onFail: %s}
    - {field: "%s", type: String, values: [grocery, gambling, crypto], onFail: %s}`, d.amount, onFail, d.category, onFail)
	}
}

// routeName is also what the models of the route are called.
func routeName(p fm.Protocol, group string) string { return dialects[p].prefix + "-" + group }

// writeConfig renders every group on every protocol into a folder, with a policy's
// host, empty: the processor, and its times. A filter has no group of what it cannot
// carry out.
func writeConfig(t *testing.T, host string, of times, primary, fallback *fm.Server) string {
	t.Helper()
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "policies", "route.yaml.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, p := range fm.Protocols {
		d := dialects[p]
		for _, g := range groups {
			if host == "WASM" && g.name == "constant" {
				continue
			}
			route := routeName(p, g.name)
			path := p.Path(route)
			if d.match == "PathPrefix" && (p == fm.V2 || p == fm.V2B) {
				path = "/v2/models/" + route
			}
			var out bytes.Buffer
			err := tmpl.Execute(&out, map[string]any{
				"Host": host, "Route": route, "Match": d.match, "Path": path, "Protocol": d.kind,
				"PrimaryPort": primary.Port(), "FallbackPort": fallback.Port(),
				"Deadline": of.deadline, "BodyLimit": orElse(g.limit, "{bytes: 1048576}"), "Detect": g.detect(d),
				"FallbackPath": p.Path("small"), "Default": d.safe, "Breaker": orElse(g.breaker, patient),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, route+".yaml"), of.fallbackIn(out.Bytes()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// models starts the primary and the fallback.
func models(t *testing.T) (primary, fallback *fm.Server) {
	t.Helper()
	primary, err := fm.Start(fm.Options{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(primary.Close)
	fallback, err = fm.Start(fm.Options{Version: "small"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fallback.Close)
	return primary, fallback
}

// wholePlane starts the models and a data plane with every group's policy.
func wholePlane(t *testing.T, of times) (plane *dataplane.Plane, primary, fallback *fm.Server) {
	t.Helper()
	primary, fallback = models(t)
	plane = dataplane.Start(t, dataplane.Options{Config: writeConfig(t, "", of, primary, fallback)})
	return plane, primary, fallback
}
