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

// TestRenderHost: --host is every policy's, and is held against what each asks for;
// the filter needs its module.
func TestRenderHost(t *testing.T) {
	dir := folder(t, "a.yaml", good)
	inside := folder(t, "a.yaml", strings.Replace(good, "deadline: 300ms", "deadline: 300ms\n  host: WASM", 1))
	bounded := folder(t, "a.yaml", strings.Replace(good, "deadline: 300ms", "deadline: 300ms\n  maxConcurrent: 5", 1))
	const module = "/etc/safestate/safestate.wasm"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"envoy", dir, "--host", "wasm"}, "want --wasm-module, the path of safestate.wasm on Envoy's machine"},
		{[]string{"envoy", inside}, "want --wasm-module"},
		{[]string{"fragment", inside}, "want --wasm-module"},
		{[]string{"envoy", bounded, "--host", "wasm", "--wasm-module", module}, "spec.maxConcurrent: counts in the processor, which host: WASM has none of"},
		{[]string{"envoy", dir, "--host", "WASM"}, `--host "WASM" is none: want processor, wasm or both`},
	} {
		if got := run(t, append([]string{"render"}, c.args...)...); got.exit != 1 || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%v: %+v, want %q", c.args, got, c.want)
		}
	}
	for _, releases := range []string{"--no-releases", "--no-releases=false"} {
		got := run(t, "serve", "--config", inside, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--answers", "127.0.0.1:0", "--processor", "127.0.0.1:18000", releases)
		if got.exit != 1 || !strings.Contains(got.stderr, "want --wasm-module") {
			t.Errorf("serve %s: %+v", releases, got)
		}
	}
	for _, c := range []struct {
		args                      []string
		module, filter, processor bool
	}{
		{[]string{dir}, false, false, true},
		{[]string{dir, "--wasm-module", module}, true, false, true},
		{[]string{inside, "--wasm-module", module}, true, true, false},
		{[]string{inside, "--host", "processor"}, false, false, true},
		{[]string{bounded, "--host", "both", "--wasm-module", module}, true, true, true},
	} {
		got := run(t, append([]string{"render", "envoy"}, c.args...)...)
		b := bootstrap(t, got)
		tags := len(b.GetStatsConfig().GetStatsTags()) > 0
		filter := strings.Contains(got.stdout, "envoy.config.route.v3.FilterConfig")
		processor := strings.Contains(got.stdout, "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor")
		if tags != c.module || strings.Contains(got.stdout, "filename: "+module) != c.module || filter != c.filter || processor != c.processor {
			t.Errorf("%v: tags %t, the filter %t, the processor %t on routes", c.args, tags, filter, processor)
		}
	}
}
