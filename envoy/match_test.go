package envoy

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
)

// TestMatches holds the Gateway API's rules against the real Envoy: each entry
// leads to a model of its own, and the first that matches wins.
func TestMatches(t *testing.T) {
	t.Parallel()
	rewriteTo := func(s string) *string { return &s }
	type entry struct {
		match   compile.Match
		rewrite *compile.Rewrite
	}
	entries := []entry{
		{compile.Match{PathType: compile.PathExact, Path: "/exact"}, nil},
		{compile.Match{PathType: compile.PathPrefix, Path: "/a/b"}, nil},
		{compile.Match{PathType: compile.PathPrefix, Path: "/a", Method: "PUT"}, nil},
		{compile.Match{PathType: compile.PathPrefix, Path: "/a", Headers: []compile.ValueMatch{{Name: "x-v", Value: "v[0-9]", Regex: true}}}, nil},
		{compile.Match{PathType: compile.PathPrefix, Path: "/a", Query: []compile.ValueMatch{{Name: "q", Value: "1"}}}, nil},
		{compile.Match{PathType: compile.PathRegex, Path: "/r/[0-9]+"}, nil},
		{compile.Match{PathType: compile.PathPrefix, Path: "/gone"}, &compile.Rewrite{Prefix: rewriteTo("/")}},
		{compile.Match{PathType: compile.PathPrefix, Path: "/old"}, &compile.Rewrite{Prefix: rewriteTo("/new/")}},
		{compile.Match{PathType: compile.PathPrefix, Path: "/full"}, &compile.Rewrite{FullPath: rewriteTo(`/x\1y`), Hostname: "inner.example"}},
		{compile.Match{PathType: compile.PathPrefix, Path: "/", Headers: []compile.ValueMatch{{Name: "x-root", Value: "1"}}}, &compile.Rewrite{Prefix: rewriteTo("/base")}},
		{compile.Match{PathType: compile.PathPrefix, Path: "/"}, nil},
	}
	const last = 10
	s := &compile.Snapshot{Hosts: []compile.Host{{Domain: "*"}}}
	models := make([]*model, len(entries))
	for i, e := range entries {
		models[i] = newModel(t, nil)
		v := version("v"+string(rune('a'+i)), models[i].addr)
		s.Clusters = append(s.Clusters, v)
		s.Routes = append(s.Routes, compile.Route{Name: "default/r/" + v.Version, Backends: []compile.Backend{{Cluster: v.Name, Weight: 1}}, Rewrite: e.rewrite})
		s.Hosts[0].Entries = append(s.Hosts[0].Entries, compile.Entry{Match: e.match, Route: i})
	}
	p := startStatic(t, s, testOptions(t))
	for _, c := range []struct {
		method, path, header string
		want                 int
		seen                 string // the model's request URI; empty: path
	}{
		{"GET", "/exact", "", 0, ""},
		{"GET", "/exact?x=1", "", 0, ""},
		{"GET", "/exact/", "", last, ""},
		{"GET", "/a/b", "", 1, ""},
		{"GET", "/a/b/c", "", 1, ""},
		{"GET", "/a/bc", "", last, ""},
		{"PUT", "/a", "", 2, ""},
		{"GET", "/a", "x-v: v1", 3, ""},
		{"GET", "/a", "x-v: v12", last, ""},
		{"GET", "/a?q=1", "", 4, ""},
		{"GET", "/a?q=2", "", last, ""},
		{"GET", "/r/12", "", 5, ""},
		{"GET", "/r/12/x", "", last, ""},
		{"GET", "/gone", "", 6, "/"},
		{"GET", "/gone/x?y=1", "", 6, "/x?y=1"},
		{"GET", "/goner", "", last, ""},
		{"GET", "/old", "", 7, "/new"},
		{"GET", "/old/x", "", 7, "/new/x"},
		{"GET", "/full/x?y=1", "", 8, `/x\1y?y=1`},
		{"GET", "/", "x-root: 1", 9, "/base/"},
		{"GET", "/x", "x-root: 1", 9, "/base/x"},
		{"GET", "/../exact", "", 0, "/exact"},
	} {
		var header []string
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			header = []string{name, value}
		}
		before := models[c.want].calls.Load()
		r := p.do(c.method, c.path, nil, header...)
		if r.status != 200 || models[c.want].calls.Load() != before+1 {
			t.Errorf("%s %s %s: status %d, model %d was not asked", c.method, c.path, c.header, r.status, c.want)
			continue
		}
		want := c.seen
		if want == "" {
			want = c.path
		}
		asked := models[c.want].last.Load()
		if asked.RequestURI != want {
			t.Errorf("%s %s: the model was asked for %q, want %q", c.method, c.path, asked.RequestURI, want)
		}
		if c.want == 8 && asked.Host != "inner.example" {
			t.Errorf("host %q", asked.Host)
		}
	}
}
