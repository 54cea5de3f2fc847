package crds

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/kill"
)

// killSwitch is an object of that spec.
func killSwitch(spec string) []byte {
	return fmt.Appendf(nil, "apiVersion: safestate.dev/v1alpha1\nkind: KillSwitch\nmetadata: {name: a, namespace: default}\nspec: %s\n", spec)
}

func TestKillSwitch(t *testing.T) {
	api := newServer(t)
	for _, c := range []struct{ spec, want string }{
		{`{target: {scope: All}, reason: fire}`, ""},
		{`{target: {scope: Model, model: fraud}, mode: Blackhole, reason: fire}`, ""},
		{`{target: {scope: Version, model: fraud, version: v2}, reason: fire}`, ""},
		{`{target: {scope: Route, route: fraud, rule: rule-0}, mode: Default, reason: fire, revive: {generation: 3, reason: out, ramp: 10m}}`, ""},

		{`{reason: fire}`, "spec.target: Required value"},
		{`{target: {scope: Model, model: fraud}}`, "spec.reason: Required value"},
		{`{target: {scope: Model, model: fraud}, reason: ''}`, "spec.reason: Invalid value"},
		{`{target: {scope: Pod}, reason: fire}`, `spec.target.scope: Unsupported value: "Pod": supported values: "All", "Route", "Model", "Version"`},
		{`{target: {scope: Model, model: fraud}, mode: degrade, reason: fire}`, `spec.mode: Unsupported value: "degrade": supported values: "Degrade", "Default", "Blackhole"`},
		{`{target: {scope: All, model: fraud}, reason: fire}`, "spec.target: Invalid value: want model with scope Model and Version, and with no other"},
		{`{target: {scope: Version, model: fraud}, reason: fire}`, "spec.target: Invalid value: want version with scope Version, and with no other"},
		{`{target: {scope: Model, model: fraud, version: v2}, reason: fire}`, "spec.target: Invalid value: want version with scope Version, and with no other"},
		{`{target: {scope: Route, route: fraud}, reason: fire}`, "spec.target: Invalid value: want route and rule with scope Route, and with no other"},
		{`{target: {scope: Model, model: other/fraud}, reason: fire}`, `spec.target.model: Invalid value: "other/fraud": want a model's name`},
		{`{target: {scope: Model, model: ''}, reason: fire}`, `spec.target.model: Invalid value: "": want a model's name`},
		{`{target: {scope: All}, reason: fire, revive: {generation: 0, reason: out}}`, "spec.revive.generation: Invalid value"},
		{`{target: {scope: All}, reason: fire, revive: {generation: 1, reason: out, ramp: 25h}}`, `spec.revive.ramp: Invalid value: "25h": want over 0 and at most 24h`},
		{`{target: {scope: All}, reason: fire, who: me}`, "spec.who: Forbidden: unknown field"},
	} {
		t.Run(c.spec, func(t *testing.T) {
			taken, refused := api.file(t.Context(), killSwitch(c.spec))
			switch {
			case c.want == "" && len(refused) > 0:
				t.Errorf("refused: %s", refused)
			case c.want == "":
				holds(t, taken[0])
			case !slices.ContainsFunc(refused, func(r string) bool { return strings.HasPrefix(r, c.want) }):
				t.Errorf("got %q; want %q", refused, c.want)
			}
		})
	}
}

// holds: what the API server takes is a target and a mode that package kill
// takes.
func holds(t *testing.T, object map[string]any) {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var k v1alpha1.KillSwitch
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		t.Fatal(err)
	}
	target := kill.Target{Scope: kill.Scope(strings.ToLower(string(k.Spec.Target.Scope)))}
	switch to := k.Spec.Target; to.Scope {
	case v1alpha1.ScopeRoute:
		target.Name = strings.Join([]string{k.Namespace, to.Route, to.Rule}, "/")
	case v1alpha1.ScopeModel:
		target.Name = strings.Join([]string{k.Namespace, to.Model}, "/")
	case v1alpha1.ScopeVersion:
		target.Name = strings.Join([]string{k.Namespace, to.Model, to.Version}, "/")
	}
	order := kill.Order{ID: "a", By: "b", Mode: kill.Mode(strings.ToLower(string(k.Spec.Mode))), Reason: k.Spec.Reason}
	if err := target.Validate(); err != nil {
		t.Error(err)
	}
	if err := order.Validate(); err != nil || order.Mode == "" {
		t.Errorf("mode %q, err %v", order.Mode, err)
	}
}

// TestKillSwitchKeepsItsTarget: a kill that is moved away would revive what it
// stood for, unasked.
func TestKillSwitchKeepsItsTarget(t *testing.T) {
	api := newServer(t)
	was, refused := api.file(t.Context(), killSwitch(`{target: {scope: Version, model: fraud, version: v2}, reason: fire}`))
	is, again := api.file(t.Context(), killSwitch(`{target: {scope: Version, model: fraud, version: v1}, reason: fire}`))
	if len(refused)+len(again) > 0 {
		t.Fatal(refused, again)
	}
	k := api.Server["safestate.dev/v1alpha1 KillSwitch"]
	errs := k.Update(t.Context(), is[0], was[0])
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "spec.target: Invalid value: never changes; want another KillSwitch for another target") {
		t.Errorf("got %v", errs)
	}
	if errs := k.Update(t.Context(), was[0], was[0]); len(errs) > 0 {
		t.Errorf("unchanged: %v", errs)
	}
}

// TestKillWords: scopes and modes are those of package kill, in PascalCase.
func TestKillWords(t *testing.T) {
	var scopes, modes []string
	for _, s := range kill.Scopes() {
		scopes = append(scopes, string(s))
	}
	for _, m := range kill.Modes() {
		modes = append(modes, string(m))
	}
	if got := lower(v1alpha1.KillScope("").Values()); !slices.Equal(got, scopes) {
		t.Errorf("scopes %q; want %q", got, scopes)
	}
	if got := lower(v1alpha1.KillMode("").Values()); !slices.Equal(got, modes) {
		t.Errorf("modes %q; want %q", got, modes)
	}
	text, err := os.ReadFile(root + "/istio/crds/safestate.dev_killswitches.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("maxLength: %d", kill.MaxReason); strings.Count(string(text), want) < 2 {
		t.Errorf("reasons are not bounded by %s, as in package kill", want)
	}
}

func lower(words []string) []string {
	var out []string
	for _, w := range words {
		out = append(out, strings.ToLower(w))
	}
	return out
}
