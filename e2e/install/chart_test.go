package install

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/e2e/dataplane"
)

// own is the namespace of the steps in docs/istio.md.
const own = "safestate-system"

var update = flag.Bool("update", false, "write the kustomize base anew")

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(filepath.Join(dataplane.Root(), "istio", "install", "chart"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values are what a user's file says.
type values = map[string]any

// tryRender is what `helm template -n safestate-system` prints, by template.
func tryRender(t *testing.T, v values) (map[string]string, error) {
	t.Helper()
	c := loadChart(t)
	all, err := util.ToRenderValues(c, v, common.ReleaseOptions{Name: "safestate", Namespace: own, Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, text := range files {
		if path.Ext(name) == ".yaml" {
			out[path.Base(name)] = text
		}
	}
	return out, nil
}

// render is every object of the chart, in the order of the templates.
func render(t *testing.T, v values) []object {
	t.Helper()
	files, err := tryRender(t, v)
	if err != nil {
		t.Fatal(err)
	}
	var out []object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, objects(t, name, files[name])...)
	}
	return out
}

// object is one of Kubernetes.
type object map[string]any

func (o object) kind() string { return fmt.Sprint(o["kind"]) }

func (o object) name() string { return fmt.Sprint(o["metadata"].(map[string]any)["name"]) }

func (o object) String() string { return o.kind() + " " + o.name() }

// at is what is at a path of fields and indices.
func (o object) at(path ...any) any {
	var v any = map[string]any(o)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func objects(t *testing.T, name, text string) (out []object) {
	t.Helper()
	for _, doc := range strings.Split("\n"+text, "\n---") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, doc)
		}
		if len(o) > 0 {
			out = append(out, o)
		}
	}
	return out
}

func textOf(t *testing.T, all []object) string {
	t.Helper()
	var b bytes.Buffer
	for _, o := range all {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.String()
}

// find is the one object of a kind and name.
func find(t *testing.T, all []object, kind, name string) object {
	t.Helper()
	for _, o := range all {
		if o.kind() == kind && o.name() == name {
			return o
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}

// group is whose kind an object is; empty: Kubernetes'.
func (o object) group() string {
	g, _, _ := strings.Cut(fmt.Sprint(o["apiVersion"]), "/")
	if strings.HasPrefix(g, "cert-manager.io") || strings.HasPrefix(g, "monitoring.coreos.com") {
		return g
	}
	return ""
}

// TestKustomizeIsTheChart: the files of the kustomize base are the chart's with its
// defaults, and those of the components are what certManager and monitoring add.
func TestKustomizeIsTheChart(t *testing.T) {
	all := render(t, values{"certificates": values{"certManager": values{"enabled": true}}, "monitoring": values{"enabled": true}})
	for file, group := range map[string]string{
		"safestate.yaml": "", "cert-manager/certificates.yaml": "cert-manager.io", "monitoring/monitoring.yaml": "monitoring.coreos.com",
	} {
		var of []object
		for _, o := range all {
			if o.group() == group {
				of = append(of, o)
			}
		}
		want := "# Made from istio/install/chart: cd e2e/install && go test -run Kustomize -update\n" + textOf(t, of)
		name := filepath.Join(dataplane.Root(), "istio", "install", "kustomize", file)
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil { //nolint:gosec // for everybody to read
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(name); err != nil || string(have) != want {
			t.Errorf("%s is not what the chart says, err %v: make it anew", file, err)
		}
	}
	if a, b := textOf(t, render(t, nil)), read(t, "istio/install/kustomize/safestate.yaml"); !strings.HasSuffix(b, a) {
		t.Error("with its defaults the chart says something else")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataplane.Root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestChartBringsTheDefinitions: Helm installs those of istio/crds, all of them.
func TestChartBringsTheDefinitions(t *testing.T) {
	want, err := filepath.Glob(filepath.Join(dataplane.Root(), "istio", "crds", "*.yaml"))
	if err != nil || len(want) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	have := map[string]string{}
	for _, c := range loadChart(t).CRDObjects() {
		have[path.Base(c.Filename)] = string(c.File.Data)
	}
	for _, name := range want {
		if base := filepath.Base(name); have[base] != read(t, "istio/crds/"+base) {
			t.Errorf("%s is not in the chart", base)
		}
		delete(have, filepath.Base(name))
	}
	if len(have) > 0 {
		t.Errorf("the chart has %v besides", slices.Sorted(maps.Keys(have)))
	}
}

// TestMistypedValuesAreRefused: a word that the chart does not know would do nothing.
func TestMistypedValuesAreRefused(t *testing.T) {
	for name, v := range map[string]values{
		"a key":             {"procesor": values{"replicas": 3}},
		"a key further in":  {"processor": values{"replica": 3}},
		"a type":            {"control": values{"replicas": "two"}},
		"no time":           {"processor": values{"longestStreamSeconds": 0}},
		"a form of spread":  {"spread": values{"whenUnsatisfiable": "Never"}},
		"fewer than fewest": {"processor": values{"autoscaling": values{"enabled": true, "minReplicas": 5, "maxReplicas": 3}}},
	} {
		if _, err := tryRender(t, v); err == nil {
			t.Errorf("%s that is wrong is taken", name)
		}
	}
}
