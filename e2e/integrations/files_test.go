package integrations

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	argov1 "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	safestatev1 "github.com/safestate/safestate/internal/api/v1alpha1"
)

const (
	flaggerFolder = root + "/istio/integrations/flagger"
	argoFolder    = root + "/istio/integrations/argo-rollouts"
)

// types are what the tools read each kind into.
var types = map[string]func() any{
	"safestate.dev/v1alpha1 Model":          func() any { return &safestatev1.Model{} },
	"flagger.app/v1beta1 MetricTemplate":    func() any { return &flaggerv1.MetricTemplate{} },
	"flagger.app/v1beta1 Canary":            func() any { return &flaggerv1.Canary{} },
	"argoproj.io/v1alpha1 AnalysisTemplate": func() any { return &argov1.AnalysisTemplate{} },
	"argoproj.io/v1alpha1 Rollout":          func() any { return &argov1.Rollout{} },
	"networking.istio.io/v1 VirtualService": func() any { return &istiov1.VirtualService{} },
	"v1 Service":                            func() any { return &corev1.Service{} },
}

// shipped are the files of both folders.
func shipped(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, folder := range []string{flaggerFolder, argoFolder} {
		found, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil || len(found) != 2 {
			t.Fatalf("found %q in %s, err %v", found, folder, err)
		}
		names = append(names, found...)
	}
	return names
}

// TestFilesAreTaken: by the API server with the published definitions, and by the
// tools' own types, which know more fields than some definitions tell.
func TestFilesAreTaken(t *testing.T) {
	s := newServer(t)
	found := map[string]int{}
	for _, file := range shipped(t) {
		for _, doc := range documents(t, file) {
			what := nameOf(t, doc)
			_, _, refused := s.Create(t.Context(), doc)
			if what == "v1 Service" {
				refused = nil // nobody defines it by a file
			}
			for _, why := range refused {
				t.Errorf("%s: %s: %s", file, what, why)
			}
			decode(t, doc, types[what]())
			found[what]++
		}
	}
	for what := range types {
		if found[what] == 0 {
			t.Errorf("there is no %s", what)
		}
	}
}

func nameOf(t testing.TB, doc []byte) string {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal(doc, &object); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%v %v", object["apiVersion"], object["kind"])
}

func decode(t testing.TB, doc []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(doc, into); err != nil {
		t.Errorf("%s: %v", nameOf(t, doc), err)
	}
}

// mistakes are edits of the files that the published definitions refuse.
var mistakes = []struct{ file, old, new, says string }{
	{"flagger/metrics.yaml", "    type: prometheus", "    type: promethus", `Unsupported value: "promethus"`},
	{"flagger/metrics.yaml", "  query: |", "  queries: |", "unknown field"},
	{"flagger/canary.yaml", "      type: rollback", "      type: roll-back", `Unsupported value: "roll-back"`},
	{"flagger/canary.yaml", "      thresholdRange: {max: 1}", "      thresholdRange: {maximum: 1}", "unknown field"},
	{"flagger/canary.yaml", "    threshold: 5 ", "    threshold: five ", "must be of type number"},
	{"flagger/canary.yaml", "  rollout: {weights: External}", "  rollout: {weights: Nobody}", `Unsupported value: "Nobody"`},
	{"argo-rollouts/analysis.yaml", "    consecutiveSuccessLimit: 1", "    successLimit: 1", "unknown field"},
	{"argo-rollouts/analysis.yaml", `        jsonPath: "{$.judgement}"`, `        jsonpath: "{$.judgement}"`, "unknown field"},
	{"argo-rollouts/analysis.yaml", "{name: safestate-token, key: token}", "{name: safestate-token}", "Required value"},
	{"argo-rollouts/rollout.yaml", "        startingStep: 1", "        startingStep: first", "must be of type integer"},
	{"argo-rollouts/rollout.yaml", "      canaryService: fraud-canary", "      canaryServices: fraud-canary", "unknown field"},
	{"argo-rollouts/rollout.yaml", "      weight: 100", "      weight: all", "must be of type integer"},
}

// TestDefinitionsRefuseMistakes: what TestFilesAreTaken relies on.
func TestDefinitionsRefuseMistakes(t *testing.T) {
	s := newServer(t)
	for _, m := range mistakes {
		text, err := os.ReadFile(filepath.Join(root, "istio/integrations", m.file))
		if err != nil {
			t.Fatal(err)
		}
		edited := bytes.Replace(text, []byte(m.old), []byte(m.new), 1)
		if bytes.Equal(edited, text) {
			t.Errorf("%s has no %q", m.file, m.old)
		}
		broken := filepath.Join(t.TempDir(), "broken.yaml")
		if err := os.WriteFile(broken, edited, 0o600); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, doc := range documents(t, broken) {
			_, _, refused := s.Create(t.Context(), doc)
			all = append(all, refused...)
		}
		if !slices.ContainsFunc(all, func(why string) bool { return strings.Contains(why, m.says) }) {
			t.Errorf("%s with %q: %q, want %q", m.file, m.new, all, m.says)
		}
	}
}
