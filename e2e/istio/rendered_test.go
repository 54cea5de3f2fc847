package istio

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// TestRenderedIsTaken: what `safestate render istio` prints for the samples, Istio's
// own validators take, and its analyzer finds nothing in that we could mend.
func TestRenderedIsTaken(t *testing.T) {
	for _, sample := range []string{"istio/testdata/fraud", "docs/samples/fraud", "docs/samples/chat"} {
		t.Run(filepath.Base(filepath.Dir(sample))+"/"+filepath.Base(sample), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			folder := filepath.Join(dataplane.Root(), sample)
			text, err := dataplane.Run(ctx, t, "safestate", "render", "istio", folder)
			if err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			_, text, _ = strings.Cut(text, "---\n") // behind the warnings
			out, err := cluster.Istioctl(t, text, "validate", "-f", "-")
			if err != nil {
				t.Errorf("validate: %v: %s", err, out)
			}
			file := filepath.Join(t.TempDir(), "rendered.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err = cluster.Istioctl(t, "", "analyze", "-A", "--use-kube=false", "--failure-threshold", "Error", file)
			if err != nil {
				t.Errorf("analyze: %v: %s", err, out)
			}
			t.Log(out)
		})
	}
}
