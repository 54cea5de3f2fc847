package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// CRDs name files with custom resource definitions.
type CRDs func(t testing.TB) []string

// Safestate are the kinds of istio/crds.
func Safestate(t testing.TB) []string {
	return files(t, filepath.Join(dataplane.Root(), "istio", "crds"), "*.yaml")
}

// GatewayAPI are the Gateway API's standard kinds; GatewayAPIExperimental are
// all of them, with the fields that are not settled.
func GatewayAPI(t testing.TB) []string {
	return files(t, filepath.Join(module(t, "sigs.k8s.io/gateway-api"), "config", "crd", "standard"), "gateway.networking*.yaml")
}

// GatewayAPIExperimental: see GatewayAPI.
func GatewayAPIExperimental(t testing.TB) []string {
	return files(t, filepath.Join(module(t, "sigs.k8s.io/gateway-api"), "config", "crd", "experimental"), "gateway.networking*.yaml")
}

// Istio are Istio's kinds.
func Istio(t testing.TB) []string {
	return files(t, filepath.Join(module(t, "istio.io/api"), "kubernetes"), "customresourcedefinitions.gen.yaml")
}

func files(t testing.TB, folder, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s in %s, err %v", pattern, folder, err)
	}
	return found
}

// applyCRDs applies the definitions and waits until each is Established.
func (a *API) applyCRDs(paths []string) {
	a.t.Helper()
	var names []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			a.t.Fatal(err)
		}
		all, err := documents(string(text))
		if err != nil {
			a.t.Fatalf("%s: %v", path, err)
		}
		for _, object := range all {
			if object.GetKind() == "CustomResourceDefinition" { // a bundle has admission policies too
				if err := a.Admin.applyObject(a.t.Context(), "test", object); err != nil {
					a.t.Fatal(err)
				}
				names = append(names, object.GetName())
			}
		}
	}
	for _, name := range names {
		dataplane.Eventually(a.t, within, "Established: "+name, func() bool {
			object, err := a.Admin.Get(a.t.Context(), "apiextensions.k8s.io/v1 CustomResourceDefinition", "", name)
			return err == nil && slices.Contains(Conditions(object), "Established=True(InitialNamesAccepted)")
		})
	}
}
