package deploytest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/telemetry"
)

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	readYAML(t, "docs/alerts/safestate.rules.yaml", &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// envoyStats are the counters of Envoy 1.40's ext_proc filter that the alerts
// use, as its /stats/prometheus names them: the filter's stat_prefix would be
// part of the name, and ours has none. Read off a running Envoy with a
// processor that refused, hung and died.
var envoyStats = []string{
	"envoy_http_ext_proc_streams_started",
	"envoy_http_ext_proc_streams_failed",
	"envoy_http_ext_proc_message_timeouts",
	"envoy_http_ext_proc_failure_mode_allowed",
}

// lastRungStat is what Envoy counts of its own answers; package envoy's tests
// read it off a running Envoy.
const lastRungStat = "envoy_" + envoy.StatPrefix + "_" + envoy.LastRungCounter

var (
	metricName = regexp.MustCompile(`\b(?:safestate|envoy)_[a-z0-9_]+\b`)
	selector   = regexp.MustCompile(`\b((?:safestate|envoy)_[a-z0-9_]+)\s*\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	byLabels   = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// targetLabels are what Prometheus adds to every series.
var targetLabels = []string{"instance", "job"}

func TestRulesUseMetricsThatExist(t *testing.T) {
	labels := map[string][]string{}
	for _, m := range telemetry.Table {
		labels[m.Name] = m.Labels
	}
	for _, name := range envoyStats {
		labels[name] = []string{"envoy_http_conn_manager_prefix"}
	}
	labels[lastRungStat] = []string{"route", "reason"}
	for _, r := range rules(t) {
		bare := labelName.ReplaceAllString(byLabels.ReplaceAllString(r.Expr, ""), "")
		var known []string
		for _, name := range metricName.FindAllString(bare, -1) {
			l, ok := labels[name]
			if !ok {
				t.Errorf("%s uses %s, which nobody exports", r.Alert, name)
			}
			known = append(known, l...)
		}
		for _, s := range selector.FindAllStringSubmatch(r.Expr, -1) {
			for _, l := range labelName.FindAllStringSubmatch(s[2], -1) {
				if !slices.Contains(labels[s[1]], l[1]) && !slices.Contains(targetLabels, l[1]) {
					t.Errorf("%s: %s has no label %s", r.Alert, s[1], l[1])
				}
			}
		}
		for _, by := range byLabels.FindAllStringSubmatch(r.Expr, -1) {
			for _, l := range strings.Split(by[1], ",") {
				if l = strings.TrimSpace(l); !slices.Contains(known, l) && !slices.Contains(targetLabels, l) {
					t.Errorf("%s groups by %s, which its metrics do not have", r.Alert, l)
				}
			}
		}
	}
}

// TestRulesNameOurFilter holds the label by which Envoy's counters are ours:
// every selector of one must have it.
func TestRulesNameOurFilter(t *testing.T) {
	want := `envoy_http_conn_manager_prefix="` + processorLabel(t) + `"`
	found := 0
	for _, r := range rules(t) {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			if slices.Contains(envoyStats, name) {
				found++
			}
		}
		for _, s := range selector.FindAllStringSubmatch(r.Expr, -1) {
			if slices.Contains(envoyStats, s[1]) {
				found--
				if s[2] != want {
					t.Errorf("%s: %s{%s}, want %s", r.Alert, s[1], s[2], want)
				}
			}
		}
	}
	if found != 0 {
		t.Errorf("%d uses of Envoy's counters have no selector", found)
	}
}

// TestUninspectedAlertLeavesOutTheRightCauses holds the alert's list against
// the table of causes.
func TestUninspectedAlertLeavesOutTheRightCauses(t *testing.T) {
	var want []string
	for _, c := range telemetry.Causes {
		if c.Expected || c.EndsStream {
			want = append(want, c.Label)
		}
	}
	slices.Sort(want)
	for _, r := range rules(t) {
		if r.Alert == "SafestateAnswersUninspected" {
			if w := `cause!~"` + strings.Join(want, "|") + `"`; !strings.Contains(r.Expr, w) {
				t.Errorf("want %s in %s", w, r.Expr)
			}
			return
		}
	}
	t.Error("no alert SafestateAnswersUninspected")
}

// TestLabelValuesInRules holds the values that rules select by.
func TestLabelValuesInRules(t *testing.T) {
	known := map[string][]string{
		"source": {
			telemetry.SourcePrimary, telemetry.SourceCache, telemetry.SourceFallback,
			telemetry.SourceRules, telemetry.SourceSafeDefault, telemetry.SourceRefused, telemetry.SourceCut,
		},
		"outcome": {string(telemetry.Error), string(telemetry.Skipped), string(telemetry.Hit), "nack", "ack"},
		"over":    {"refuse", "answer"},
	}
	for _, r := range rules(t) {
		for _, l := range labelName.FindAllStringSubmatch(r.Expr, -1) {
			values, ok := known[l[1]]
			for _, v := range strings.Split(l[2], "|") {
				if ok && !slices.Contains(values, v) {
					t.Errorf("%s: %s is never %q", r.Alert, l[1], v)
				}
			}
		}
		if strings.Contains(r.Expr, "safestate_breaker_state == 3") && telemetry.BreakerOpen != 3 {
			t.Errorf("%s: open is %d", r.Alert, telemetry.BreakerOpen)
		}
	}
}

// TestEveryAlertIsDocumentedAndTested wants for each alert a severity, a text,
// a chapter in docs/alerts.md, and unit tests of both its states.
func TestEveryAlertIsDocumentedAndTested(t *testing.T) {
	type expectation struct {
		Alertname string
		ExpAlerts []any `yaml:"exp_alerts"`
	}
	var tests struct {
		Tests []struct {
			AlertRuleTest []expectation `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, "docs/alerts/safestate.rules.test.yaml", &tests)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, group := range tests.Tests {
		for _, e := range group.AlertRuleTest {
			if len(e.ExpAlerts) > 0 {
				fires[e.Alertname] = true
			} else {
				quiet[e.Alertname] = true
			}
		}
	}
	page := string(read(t, "docs/alerts.md"))
	names := map[string]bool{}
	for _, r := range rules(t) {
		if names[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		names[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no summary or description", r.Alert)
		}
		if want := "docs/alerts.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if !strings.Contains(page, "\n### "+r.Alert+"\n") {
			t.Errorf("%s has no chapter in docs/alerts.md", r.Alert)
		}
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s is tested firing: %v, quiet: %v; want both", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
	for _, line := range strings.Split(page, "\n") {
		if name, ok := strings.CutPrefix(line, "### "); ok && !names[name] {
			t.Errorf("docs/alerts.md has a chapter on %s, which is no alert", name)
		}
	}
}

// TestEnvoyAlertsNameTheirStat: who reads such an alert must find the counter.
func TestEnvoyAlertsNameTheirStat(t *testing.T) {
	for _, r := range rules(t) {
		if r.Alert == "SafestateNotScraped" || !strings.Contains(r.Expr, "envoy_") {
			continue
		}
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			if (name == lastRungStat || slices.Contains(envoyStats, name)) && !strings.Contains(r.Annotations["description"], name) {
				t.Errorf("%s does not name %s in its text", r.Alert, name)
			}
		}
	}
}

// processorLabel is the value of envoy_http_conn_manager_prefix on the counters
// of the ext_proc filter that safestate renders: the connection manager's
// stat_prefix for a filter in its chain, nothing for one that the composite
// filter makes.
func processorLabel(t *testing.T) string {
	t.Helper()
	snapshot, problems := compile.Dir(root + "/docs/samples/fraud")
	if snapshot == nil {
		t.Fatal(problems)
	}
	b, err := envoy.Static(snapshot, envoy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := envoy.YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	var config any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	const (
		extProc = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
		action  = "type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
	)
	filters, composed := 0, 0
	walk(config, func(m map[string]any) {
		switch m["@type"] {
		case extProc:
			filters++
			if p, ok := m["stat_prefix"]; ok {
				t.Errorf("the ext_proc filter has stat_prefix %v: its counters are envoy_http_ext_proc_%v_…, and the rules must say so", p, p)
			}
		case action:
			walk(m["typed_config"], func(inner map[string]any) {
				if inner["@type"] == extProc {
					composed++
				}
			})
		}
	})
	switch {
	case filters == 0:
		t.Fatal("no ext_proc filter is rendered")
	case composed == filters:
		return ""
	case composed > 0:
		t.Fatalf("%d of %d ext_proc filters are in a composite filter: their counters have two labels", composed, filters)
	}
	return envoy.StatPrefix
}

// walk calls f with every object of a decoded document.
func walk(node any, f func(map[string]any)) {
	switch n := node.(type) {
	case map[string]any:
		f(n)
		for _, v := range n {
			walk(v, f)
		}
	case []any:
		for _, v := range n {
			walk(v, f)
		}
	}
}

// TestPromtoolIsPrometheus: the rules are tested by the version that Compose
// runs. Prometheus 3.15.0 is the module's v0.315.0.
func TestPromtoolIsPrometheus(t *testing.T) {
	tag := regexp.MustCompile(`^prom/prometheus:v(\d+)\.(\d+)\.(\d+)$`).FindStringSubmatch(services(t)["prometheus"].Image)
	if tag == nil {
		t.Fatal("no version of Prometheus in docker-compose.yaml")
	}
	minor, _ := strconv.Atoi(tag[2])
	want := fmt.Sprintf("github.com/prometheus/prometheus v0.%s%02d.%s", tag[1], minor, tag[3])
	if !strings.Contains(string(read(t, "internal/deploytest/promtool/go.mod")), want) {
		t.Errorf("want %s in promtool's go.mod", want)
	}
}
