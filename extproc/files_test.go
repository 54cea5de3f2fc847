package extproc

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/tenant"
	"github.com/safestate/safestate/internal/verdict"
)

// filed is a proxy whose processor lets policies name files below a folder alone, with
// a body of a default in it.
func filed(t *testing.T) (p *proxy, folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "files")
	for _, namespace := range []string{"default", "other"} {
		if err := os.MkdirAll(filepath.Join(folder, namespace), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, namespace, "body.json"), []byte(strings.Replace(cleanAnswer, "0.25", "0.5", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p = newProxy(t, func(o *Options) {
		o.Metrics = telemetry.NewMetrics("test", telemetry.Caps{})
		state, err := NewState(StateOptions{Metrics: o.Metrics, Files: tenant.Files(folder)})
		if err != nil {
			t.Fatal(err)
		}
		o.State.Close()
		o.State = state
		t.Cleanup(state.Close)
	})
	p.metrics = p.server.metrics
	return p, folder
}

// TestWhoseFilesAPolicyNames: each place in which a policy may name one.
func TestWhoseFilesAPolicyNames(t *testing.T) {
	p, folder := filed(t)
	own, foreign := folder+"/default/body.json", folder+"/other/body.json"
	fallback := func(model string, change func(*policy.Fallback)) *policy.Fallback {
		f := &policy.Fallback{
			Model: model, ServedName: "small", Protocol: policy.OpenInferenceV2, Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: 1}},
			Deadline: policy.Duration(time.Millisecond), MaxBytes: 1000,
		}
		change(f)
		return f
	}
	rung := func(r policy.Rung) *policy.Policy {
		return fraud(func(p *policy.Policy) { p.Ladder = append([]policy.Rung{r}, p.Ladder...) })
	}
	model := func(of string, change func(*policy.Fallback)) *policy.Policy {
		return rung(policy.Rung{Fallback: fallback(of, change)})
	}
	origin := func(of, file string) *policy.Policy {
		return rung(policy.Rung{Cache: &policy.Cache{
			TTL: policy.Duration(time.Minute), When: policy.First, StaleWhileRevalidate: policy.Duration(time.Minute),
			Origin: fallback(of, func(f *policy.Fallback) { f.Credentials = file }),
		}})
	}
	refreshed := func(file string) *policy.Policy {
		return fraud(func(p *policy.Policy) {
			last := *p.Ladder[len(p.Ladder)-1].SafeDefault
			last.Refresh = &policy.Refresh{File: file, Interval: policy.Duration(time.Minute)}
			p.Ladder = []policy.Rung{{SafeDefault: &last}}
		})
	}
	for name, c := range map[string]struct {
		policy *policy.Policy
		taken  bool
	}{
		"none":                                  {fraud(), true},
		"credentials":                           {model("default/small", func(f *policy.Fallback) { f.Credentials = own }), true},
		"credentials of others":                 {model("default/small", func(f *policy.Fallback) { f.Credentials = foreign }), false},
		"credentials of safestate":              {model("default/small", func(f *policy.Fallback) { f.Credentials = "/etc/safestate/redis/password" }), false},
		"credentials by a relative name":        {model("default/small", func(f *policy.Fallback) { f.Credentials = "token" }), false},
		"credentials by ..":                     {model("default/small", func(f *policy.Fallback) { f.Credentials = folder + "/default/../other/body.json" }), false},
		"authorities":                           {model("default/small", func(f *policy.Fallback) { f.TLS = &policy.TLS{CAFile: own} }), true},
		"no authorities":                        {model("default/small", func(f *policy.Fallback) { f.TLS = &policy.TLS{ServerName: "small"} }), true},
		"authorities of others":                 {model("default/small", func(f *policy.Fallback) { f.TLS = &policy.TLS{CAFile: foreign} }), false},
		"a certificate of others":               {model("default/small", func(f *policy.Fallback) { f.TLS = &policy.TLS{CertFile: foreign, KeyFile: own} }), false},
		"a key of others":                       {model("default/small", func(f *policy.Fallback) { f.TLS = &policy.TLS{CertFile: own, KeyFile: foreign} }), false},
		"the origin's own":                      {origin("default/fraud", own), true},
		"the origin's, of its own namespace":    {origin("other/fraud", foreign), true},
		"the origin's, of the route's":          {origin("other/fraud", own), false},
		"a default's":                           {refreshed(own), true},
		"a default's, of others":                {refreshed(foreign), false},
		"a default's, which is the processor's": {refreshed("/etc/safestate/tls/tls.key"), false},
	} {
		before := refusedBy(p, "files")
		for range 2 { // what is remembered of the first must not change the second
			got := p.do(request{policy: c.policy, answer: nanAnswer})
			if c.taken && (got.err != nil || got.headers[verdict.HeaderSource] != "safe_default") {
				t.Errorf("%s: %v %v", name, got.err, got.headers)
			}
			if !c.taken && (status.Code(got.err) != codes.PermissionDenied || got.asked || !strings.Contains(got.err.Error(), "want a file below "+folder+"/")) {
				t.Errorf("%s: %v", name, got.err)
			}
		}
		if n := refusedBy(p, "files") - before; n == 0 != c.taken {
			t.Errorf("%s: %v are counted", name, n)
		}
	}
}

// TestALinkToCredentialsOfOthers: a fallback model is sent those of its namespace, and
// by a link to others' it is not asked.
func TestALinkToCredentialsOfOthers(t *testing.T) {
	p, folder := filed(t)
	if err := os.WriteFile(folder+"/other/token", []byte("Bearer other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder+"/default/token", []byte("Bearer own"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../other/token", folder+"/default/link"); err != nil {
		t.Fatal(err)
	}
	var sent atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Header.Get("Authorization")
		sent.Store(&text)
		_, _ = w.Write([]byte(strings.ReplaceAll(cleanAnswer, "fraud", "small")))
	}))
	defer server.Close()
	at := server.Listener.Addr().(*net.TCPAddr)
	for file, want := range map[string]string{"token": "Bearer own", "link": ""} {
		sent.Store(new(string))
		got := p.do(request{policy: fraud(readBody, func(p *policy.Policy) {
			p.Deadline, p.Reserve = policy.Duration(30*time.Second), policy.Duration(25*time.Second)
			p.Ladder = append([]policy.Rung{{Fallback: &policy.Fallback{
				Model: "default/small", ServedName: "small", Protocol: policy.OpenInferenceV2,
				Endpoints: []policy.Endpoint{{Address: at.IP.String(), Port: at.Port}},
				Deadline:  policy.Duration(20 * time.Second), MaxBytes: 10_000, Credentials: folder + "/default/" + file,
			}}}, p.Ladder...)
		}), answer: nanAnswer})
		if got.err != nil || *sent.Load() != want {
			t.Errorf("%s: the model was sent %q, want %q; %v %v", file, *sent.Load(), want, got.err, got.headers)
		}
	}
}

// TestALinkOutOfANamespace: a name that is the namespace's own, and leads to another's.
func TestALinkOutOfANamespace(t *testing.T) {
	p, folder := filed(t)
	if err := os.Symlink("../other/body.json", folder+"/default/link.json"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"body.json": "ok", "link.json": "error"} {
		p.do(request{policy: fraud(func(p *policy.Policy) {
			last := *p.Ladder[len(p.Ladder)-1].SafeDefault
			last.Refresh = &policy.Refresh{File: folder + "/default/" + file, Interval: policy.Duration(time.Minute)}
			p.Ladder = []policy.Rung{{SafeDefault: &last}}
		}), answer: nanAnswer})
		for limit := time.Now().Add(time.Minute); sample(p, `safestate_default_refreshes_total{outcome="`+want+`"}`) == 0; time.Sleep(time.Millisecond) { // a poll with a bound
			if time.Now().After(limit) {
				t.Fatalf("%s is not read with outcome %s", file, want)
			}
		}
	}
}
