package crds

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/e2e/crds/apiserver"
	"github.com/safestate/safestate/internal/api/v1alpha1"
)

const (
	root   = "../.."
	module = "sigs.k8s.io/gateway-api"
)

type server struct{ apiserver.Server }

// newServer has the kinds of istio/crds and of the Gateway API.
func newServer(t testing.TB) server {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "istio", "crds", "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("found %d files in istio/crds, err %v", len(names), err)
	}
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, plural := range []string{"httproutes", "grpcroutes", "referencegrants"} {
		names = append(names, filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/gateway.networking.k8s.io_"+plural+".yaml"))
	}
	s := server{apiserver.Server{}}
	for _, name := range names {
		if err := s.Add(read(t, name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return s
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func definition(t testing.TB, name string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	crd, err := apiserver.Definition(read(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return crd
}

// file applies every document of a file, and returns what was made of those that were
// taken and why the others were not.
func (s server) file(ctx context.Context, text []byte) (taken []map[string]any, refused []string) {
	docs, err := apiserver.Documents(text)
	for _, doc := range docs {
		object, name, errs := s.Create(ctx, doc)
		group, _, _ := strings.Cut(name, "/")
		if name != "" && s.Server[name] == nil && !strings.Contains(name, "<nil>") && group != v1alpha1.Group && group != gatewayv1.GroupName {
			continue // another kind's own definition says what is right
		}
		refused = append(refused, errs...)
		if len(errs) == 0 && object != nil {
			taken = append(taken, object)
		}
	}
	if err != nil {
		refused = append(refused, err.Error())
	}
	return taken, refused
}
