package envoy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files")

// everything uses all that a snapshot can say.
func everything(t *testing.T) *compile.Snapshot {
	t.Helper()
	full := func(p *policy.Policy, r compile.Route) compile.Route {
		p.Deadline, p.Reserve = policy.Duration(600*time.Millisecond), policy.Duration(200*time.Millisecond)
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		r.Policy, r.PolicyJSON = p, string(text)
		return r
	}
	text, empty := "/v2/models/fraud/infer", ""
	return &compile.Snapshot{
		Hosts: []compile.Host{
			{Domain: "*", Entries: []compile.Entry{
				{Match: compile.Match{PathType: compile.PathExact, Path: "/ping", Method: "GET"}, Route: 2},
				{Match: compile.Match{PathType: compile.PathPrefix, Path: "/v2/models/fraud"}, Route: 0},
			}},
			{Domain: "*.example.com", Entries: []compile.Entry{
				{Match: compile.Match{PathType: compile.PathRegex, Path: `/v1/models/[a-z]+:predict`,
					Headers: []compile.ValueMatch{{Name: "x-tenant", Value: "a|b", Regex: true}}, Query: []compile.ValueMatch{{Name: "v", Value: "1"}}}, Route: 1},
				{Match: compile.Match{PathType: compile.PathPrefix, Path: "/old"}, Route: 3},
				{Match: compile.Match{PathType: compile.PathPrefix, Path: "/team"}, Route: 4},
				{Match: compile.Match{PathType: compile.PathPrefix, Path: "/"}, Route: 2},
			}},
		},
		Routes: []compile.Route{
			full(enforced(func(p *policy.Policy) { p.Needs.RequestBody = true }), compile.Route{
				Name: "default/fraud/score", Namespace: "default",
				Backends:     []compile.Backend{{Cluster: "default/fraud/v1", Weight: 90}, {Cluster: "default/fraud/v2", Weight: 10}},
				ModelTimeout: 400 * time.Millisecond, MaxDuration: 620 * time.Millisecond,
			}),
			full(enforced(func(p *policy.Policy) {
				p.Protocol, p.WhenProcessorAway = policy.OpenInferenceV1, policy.AwayPass
				p.Ladder[0].SafeDefault = &policy.SafeDefault{Status: 503, ContentType: "application/problem+json", Body: "{}"}
			}), compile.Route{
				Name: "default/fraud/v1api", Namespace: "default",
				Backends: []compile.Backend{{Cluster: "default/fraud/v1", Weight: 1}},
				Rewrite:  &compile.Rewrite{Hostname: "model.internal", FullPath: &text},
			}),
			{
				Name: "default/fraud/plain", Namespace: "default",
				Backends:        []compile.Backend{{Cluster: "default/fraud/v2", Weight: 0}},
				ResponseHeaders: compile.HeaderEdit{Remove: []string{"server"}},
			},
			full(enforced(observe), compile.Route{
				Name: "default/fraud/old", Namespace: "default",
				Backends:       []compile.Backend{{Cluster: "default/fraud/v2", Weight: 1}},
				Rewrite:        &compile.Rewrite{Prefix: &empty},
				RequestHeaders: compile.HeaderEdit{Set: []compile.Header{{Name: "x-a", Value: "1"}}},
				ModelTimeout:   10 * time.Second,
				OwnTimeout:     10 * time.Second,
			}),
			full(chatPolicy(func(p *policy.Policy) { p.WhenProcessorAway = policy.AwayPass }), compile.Route{
				Name: "default/fraud/team", Namespace: "default",
				Backends:       []compile.Backend{{Cluster: "default/fraud/v1", Weight: 1}},
				Rewrite:        &compile.Rewrite{Prefix: &empty},
				RequestHeaders: compile.HeaderEdit{Set: []compile.Header{{Name: "x-a", Value: "1"}}},
				ModelTimeout:   400 * time.Millisecond, MaxDuration: 10*time.Minute + compile.Grace,
			}),
		},
		Clusters: []compile.Cluster{
			{Name: "default/fraud/v1", Namespace: "default", Model: "fraud", Version: "v1", ConnectTimeout: 250 * time.Millisecond,
				Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: 9101}, {Address: "127.0.0.1", Port: 9111}}},
			{Name: "default/fraud/v2", Namespace: "default", Model: "fraud", Version: "v2", ConnectTimeout: 100 * time.Millisecond,
				Endpoints: []policy.Endpoint{{Address: "model.example", Port: 443}}, DNS: true,
				TLS:               &policy.TLS{ServerName: "model.example"},
				AuthorizationFile: "testdata/token",
				HealthCheck:       &compile.HealthCheck{Path: "/v2/health/ready", Interval: 5 * time.Second, Timeout: time.Second, UnhealthyThreshold: 3, HealthyThreshold: 1}},
		},
	}
}

// recorded gives a snapshot's policies and clusters the times of the golden files.
func recorded(t *testing.T, s *compile.Snapshot) *compile.Snapshot {
	t.Helper()
	for i := range s.Routes {
		r := &s.Routes[i]
		if r.Policy == nil {
			continue
		}
		r.Policy.Deadline, r.Policy.Reserve = policy.Duration(600*time.Millisecond), policy.Duration(200*time.Millisecond)
		text, err := r.Policy.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		r.PolicyJSON, r.ModelTimeout, r.MaxDuration = string(text), 400*time.Millisecond, 620*time.Millisecond
	}
	for i := range s.Clusters {
		s.Clusters[i].ConnectTimeout = 250 * time.Millisecond
	}
	return s
}

// document prints resources in the order in which ADS sends them.
func document(t *testing.T, r *Resources) []byte {
	t.Helper()
	out := &discoveryv3.DiscoveryResponse{}
	for _, m := range append(append(messages(r.Secrets), messages(r.Clusters)...), append(messages(r.Listeners), messages(r.Routes)...)...) {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		out.Resources = append(out.Resources, a)
	}
	text, err := YAML(out)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; `go test ./envoy -run Golden -update` writes it, then read the diff\n%s", file, firstDifference(string(want), string(got)))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "line " + strings.Join([]string{w[max(0, i-1)], "- " + w[i], "+ " + g[i]}, "\n")
		}
	}
	return "one is longer"
}

func TestGolden(t *testing.T) {
	s := everything(t)
	o := Options{AccessLog: "/dev/stdout", Processor: "unix:/run/safestate.sock", XDS: "safestate.internal:18000"}
	r, err := Render(s, o)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "ads.yaml", document(t, r))
	boot, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	static, err := Static(s, o)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string]*bootstrapv3.Bootstrap{"bootstrap.yaml": boot, "static.yaml": static} {
		text, err := YAML(b)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, file, text)
	}
}

// TestBootstrapFile holds the commented file against what Bootstrap renders.
func TestBootstrapFile(t *testing.T) {
	text, err := os.ReadFile("bootstrap/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	j, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	got := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(j, got); err != nil {
		t.Fatal(err)
	}
	want, err := Bootstrap(Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := YAML(want)
	if err != nil {
		t.Fatal(err)
	}
	gotText, err := YAML(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(gotText, wantText) {
		t.Error(firstDifference(string(wantText), string(gotText)))
	}
}

// TestPure: rendering twice gives the same bytes, changes nothing in the
// snapshot and shares no memory with it.
func TestPure(t *testing.T) {
	s := everything(t)
	before, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	one := rendered(t, s, Options{})
	first := document(t, one)
	for _, m := range one.all() {
		proto.Reset(m)
	}
	if !bytes.Equal(first, document(t, rendered(t, s, Options{}))) {
		t.Error("two renderings differ")
	}
	if after, _ := json.Marshal(s); !bytes.Equal(before, after) {
		t.Error("the snapshot changed")
	}
}

// TestEnvoyValidates: Envoy itself takes the golden configuration.
func TestEnvoyValidates(t *testing.T) {
	s := everything(t)
	s.Clusters[1].TLS.CAFile = newAuthority(t).file // not every machine has the system's
	static, err := Static(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	validated(t, "static", static)
	boot, err := Bootstrap(Options{})
	if err != nil {
		t.Fatal(err)
	}
	validated(t, "bootstrap", boot)
}

// validated wants Envoy to take a bootstrap without a word but for the one
// filter that it marks as work in progress.
func validated(t *testing.T, name string, b *bootstrapv3.Bootstrap) {
	t.Helper()
	text, err := YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoyBinary(t), "--mode", "validate", "-c", path, "-l", "warning").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, tail(string(out)))
	}
	for line := range strings.SplitSeq(strings.TrimSpace(tail(string(out))), "\n") {
		if line != "" && !strings.HasSuffix(line, "OK") {
			t.Errorf("%s: Envoy says: %s", name, line)
		}
	}
}

// TestRefused: what cannot be expressed is an error that says what and where.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*compile.Snapshot, *Options)
		want string
	}{
		"missing cluster":    {func(s *compile.Snapshot, _ *Options) { s.Clusters = nil }, `route "default/fraud/score" names cluster "default/fraud/v1", which does not exist`},
		"cluster twice":      {func(s *compile.Snapshot, _ *Options) { s.Clusters = append(s.Clusters, s.Clusters[0]) }, `cluster "default/fraud/v1" is there twice`},
		"no endpoint":        {func(s *compile.Snapshot, _ *Options) { s.Clusters[0].Endpoints = nil }, "version default/fraud/v1: 0 endpoints"},
		"entry out of range": {func(s *compile.Snapshot, _ *Options) { s.Hosts[0].Entries[0].Route = 9 }, "names route 9 of 1"},
		"protocol":           {func(s *compile.Snapshot, _ *Options) { s.Routes[0].Policy.Protocol = "OpenInferenceV3" }, `route default/fraud/score: protocol "OpenInferenceV3" is not rendered`},
		"status":             {func(s *compile.Snapshot, _ *Options) { s.Routes[0].Policy.Default().Status = 199 }, "the default's status is 199"},
		"host header": {func(s *compile.Snapshot, _ *Options) {
			s.Routes[0].RequestHeaders.Set = []compile.Header{{Name: "host"}}
		}, `header "host" cannot be written`},
		"header name": {func(s *compile.Snapshot, _ *Options) {
			s.Routes[0].RequestHeaders.Set = []compile.Header{{Name: "a\nb"}}
		}, "HeaderValue.Key"},
		"prefix of a regex": {func(s *compile.Snapshot, _ *Options) {
			x := "/y"
			s.Hosts[0].Entries[0].Match.PathType, s.Routes[0].Rewrite = compile.PathRegex, &compile.Rewrite{Prefix: &x}
		}, "is no PathPrefix"},
		"listen":    {func(_ *compile.Snapshot, o *Options) { o.Listen = "10000" }, `listen: "10000" is no address`},
		"port":      {func(_ *compile.Snapshot, o *Options) { o.Listen = "127.0.0.1:70000" }, "port under 65536"},
		"processor": {func(_ *compile.Snapshot, o *Options) { o.Processor = "unix:" }, "names no socket"},
		"answers":   {func(_ *compile.Snapshot, o *Options) { o.Answers = "18001" }, `safestate_answers: "18001" is no address`},
		"admin":     {func(_ *compile.Snapshot, o *Options) { o.Admin = ":9901" }, `admin: ":9901" is no address`},
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshot(t, enforced(nil), version("v1", "127.0.0.1:9101"))
			var o Options
			c.edit(s, &o)
			if _, err := Static(s, o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestMessageTimeout: half the deadline at most, and 200 ms at most but for large
// bodies.
func TestMessageTimeout(t *testing.T) {
	for _, c := range []struct {
		deadline, option time.Duration
		body             int64
		want             time.Duration
	}{
		{80 * time.Millisecond, 0, 1 << 20, 40 * time.Millisecond},
		{2 * time.Second, 0, 1 << 20, 200 * time.Millisecond},
		{2 * time.Second, 0, 1 << 10, 200 * time.Millisecond},
		{2 * time.Second, 0, 32 << 20, 510 * time.Millisecond},
		{time.Millisecond, 0, 1 << 20, time.Millisecond},
		{80 * time.Millisecond, time.Second, 1 << 20, time.Second},
	} {
		p := &policy.Policy{Deadline: policy.Duration(c.deadline), Limits: policy.Limits{BodyBytes: c.body}}
		if got := messageTimeout(p, Options{MessageTimeout: c.option}); got != c.want {
			t.Errorf("deadline %s, option %s: %s, want %s", c.deadline, c.option, got, c.want)
		}
	}
}
