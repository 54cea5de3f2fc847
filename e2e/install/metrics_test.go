package install

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestAlertsFindTheProxies: every counter of a proxy's that an alert goes by is there
// under that name, with the bootstrap of istio-proxy and the documentation's setting.
func TestAlertsFindTheProxies(t *testing.T) {
	m := newMeshed(t)
	m.apply(fraudPolicy)
	m.guarded()
	for _, p := range m.processors() {
		p.Kill()
	}
	m.until("the gateway answers by itself", "safe_default (processor_away)")
	rules := find(t, render(t, values{"monitoring": values{"enabled": true}}), "PrometheusRule", "safestate")
	names := map[string]bool{}
	for _, g := range asList(rules.at("spec", "groups")) {
		for _, r := range asList(object(g.(map[string]any)).at("rules")) {
			for _, name := range regexp.MustCompile(`envoy_[a-z_]+`).FindAllString(fmt.Sprint(object(r.(map[string]any)).at("expr")), -1) {
				names[name] = true
			}
		}
	}
	if len(names) < 4 {
		t.Errorf("the alerts go by %v alone", names)
	}
	counts := func(begins string) {
		t.Helper()
		dataplane.Eventually(t, patience, "a proxy counts "+begins, func() bool {
			lines := slices.Collect(strings.Lines(dataplane.Get("http://" + m.gateway + "/stats/prometheus")))
			return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, begins) })
		})
	}
	for name := range names {
		counts(name + "{")
	}
	counts(`envoy_safestate_last_rung{route="models/fraud/rule-0",reason="processor_away"}`)
}
