package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
)

// TestPoolIsServed: the first names are those that istiod 1.31 gave such pools, and the
// last one is by its rule.
func TestPoolIsServed(t *testing.T) {
	for pool, want := range map[string]string{
		"fraud-v1":              "fraud-v1-ip-aa4220f6",
		"fraud-v2":              "fraud-v2-ip-2c8a1017",
		strings.Repeat("p", 63): strings.Repeat("p", 51) + "-ip-ca6d4758",
	} {
		name, port := config.ServiceOf(&v1alpha1.BackendRef{Kind: v1alpha1.BackendInferencePool, Name: pool, Port: 8000})
		if name != want || port != 54321 || len(name) > 63 {
			t.Errorf("%s: Service %s port %d, want %s port 54321", pool, name, port, want)
		}
	}
}

// TestPoolEndpoints: a version that is a pool is asked for, where a ladder does, by the
// headless Service of its servers, at their own port; what is written comes first.
func TestPoolEndpoints(t *testing.T) {
	v := &v1alpha1.ModelVersion{Name: "v1", BackendRef: &v1alpha1.BackendRef{Kind: v1alpha1.BackendInferencePool, Name: "fraud-v1", Port: 8000}}
	if got, want := config.Endpoints("models", v), []v1alpha1.Endpoint{{Address: "fraud-v1-ip-aa4220f6.models.svc", Port: 8000}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	v.Endpoints = []v1alpha1.Endpoint{{Address: "10.0.0.1", Port: 80}}
	if got := config.Endpoints("models", v); !slices.Equal(got, v.Endpoints) {
		t.Errorf("got %v", got)
	}
}
