package main

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/envoy"
)

// TestRenderFragment: an Envoy with a listener of its own fetches routes and
// clusters and no listener, and knows the defaults of a folder that is named.
func TestRenderFragment(t *testing.T) {
	got := run(t, "render", "fragment", "--xds", "127.0.0.1:12347")
	b := bootstrap(t, got)
	if !strings.Contains(got.stdout, "\n# The models' clusters.") {
		t.Error("it has no comments")
	}
	if names := clusters(b); !strings.Contains(names, envoy.XDSClusterName) || !strings.Contains(names, envoy.AnswersClusterName) {
		t.Errorf("clusters: %s", names)
	}
	if d := b.GetDynamicResources(); d.GetCdsConfig().GetApiConfigSource() == nil || d.GetLdsConfig() != nil || d.GetAdsConfig() != nil {
		t.Errorf("it fetches %v", d)
	}
	ads := bootstrap(t, run(t, "render", "fragment", "--ads")).GetDynamicResources()
	if ads.GetAdsConfig() == nil || ads.GetCdsConfig().GetAds() == nil || ads.GetLdsConfig() != nil {
		t.Errorf("with --ads it fetches %v", ads)
	}
	if bad := run(t, "render", "fragment", folder(t, "a.yaml", strings.Replace(good, "deadline: 300ms", "deadline: 300us", 1))); bad.exit != 1 || bad.stdout != "" {
		t.Errorf("a bad folder: %+v", bad)
	}
	if fine := run(t, "render", "fragment", folder(t, "a.yaml", good)); fine.stdout != run(t, "render", "fragment").stdout {
		t.Error("a folder with the usual defaults needs something else")
	}
}
