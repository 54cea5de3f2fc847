package extproc

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

const fraudRoute = "default/fraud/score"

func signingKey(t *testing.T, b byte) signing.Private {
	t.Helper()
	key, err := signing.FromSeed(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signs is the signature of a policy for a route.
func signs(t *testing.T, key signing.Private, p *policy.Policy, route string) string {
	t.Helper()
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	namespace, _, _ := strings.Cut(route, "/")
	return key.Sign(signing.Subject{Route: route, Namespace: namespace, Policy: string(text)})
}

func trusting(keys ...signing.Private) *signing.Keys {
	k := &signing.Keys{}
	for i, key := range keys {
		k.Set(fmt.Sprint(i), key.Public())
	}
	return k
}

func refusedBy(p *proxy, cause string) float64 {
	return sample(p, `safestate_policies_refused_total{cause="`+cause+`"}`)
}

// sample is one value of the metrics.
func sample(p *proxy, name string) (value float64) {
	w := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(rest, &value)
		}
	}
	return value
}

// Every way in which a policy can be signed, or not, at a processor that others
// can dial and at one that they cannot.
func TestWhoMayBringAPolicy(t *testing.T) {
	mine, old, foreign := signingKey(t, 1), signingKey(t, 2), signingKey(t, 3)
	p := fraud()
	changed := fraud(func(p *policy.Policy) { p.Limits.BodyBytes++ })
	good := signs(t, mine, p, fraudRoute)
	for _, c := range []struct {
		name       string
		request    request
		far, local string // the cause of a refusal; "": admitted
	}{
		{"signed", request{policy: p, signature: good, route: fraudRoute}, "", ""},
		{"signed, one of Envoy's several routes", request{policy: p, signature: good, route: fraudRoute + " (stream)"}, "", ""},
		{"signed by the other key", request{policy: p, signature: signs(t, old, p, fraudRoute), route: fraudRoute}, "", ""},
		{"unsigned", request{policy: p, route: fraudRoute}, "unsigned", ""},
		{"unsigned, and Envoy does not say which route", request{policy: p}, "unsigned", ""},
		{"signed, and Envoy does not say which route", request{policy: p, signature: good}, "other_route", "other_route"},
		{"copied to another route", request{policy: p, signature: good, route: "default/other/score"}, "other_route", "other_route"},
		{"copied to another namespace", request{policy: p, signature: good, route: "payments/fraud/score"}, "other_route", "other_route"},
		{"changed", request{policy: changed, signature: good, route: fraudRoute}, "wrong_signature", "wrong_signature"},
		{"by a key that is not trusted", request{policy: p, signature: signs(t, foreign, p, fraudRoute), route: fraudRoute}, "unknown_key", "unknown_key"},
		{"no signature at all", request{policy: p, signature: "signed", route: fraudRoute}, "malformed", "malformed"},
	} {
		for place, strict := range map[string]bool{"far": true, "local": false} {
			t.Run(c.name+", "+place, func(t *testing.T) {
				want := c.local
				if strict {
					want = c.far
				}
				proxy := newProxy(t, func(o *Options) { o.Signed, o.Keys = strict, trusting(mine, old) })
				c.request.answer = nanAnswer
				for range 2 { // what is remembered of the first must not change the second
					got := proxy.do(c.request)
					if want == "" {
						if got.err != nil || got.headers[verdict.HeaderSource] != "safe_default" {
							t.Fatalf("not judged: %v, %v", got.err, got.headers)
						}
						continue
					}
					if status.Code(got.err) != codes.PermissionDenied || got.asked {
						t.Fatalf("got %v, want it refused", got.err)
					}
				}
				if want == "" {
					return
				}
				if n := refusedBy(proxy, want); n != 2 {
					t.Errorf("%v refusals are counted as %s", n, want)
				}
				if n := sample(proxy, `safestate_uninspected_total{cause="policy_refused",route=""}`); n != 2 {
					t.Errorf("%v uninspected answers are counted", n)
				}
				if r := proxy.server.Refusals(); len(r) != 1 || r[0].Cause != want || r[0].Count != 2 || r[0].Error == "" {
					t.Errorf("it says %+v", r)
				}
				if n := len(proxy.server.routes.byText); n != 0 {
					t.Errorf("%d routes were made of a policy that is not trusted", n)
				}
			})
		}
	}
}

func TestWithoutKeysNobodyCanTell(t *testing.T) {
	p := fraud()
	signed := request{policy: p, signature: signs(t, signingKey(t, 1), p, fraudRoute), route: fraudRoute, answer: cleanAnswer}
	for _, keys := range []*signing.Keys{nil, {}} {
		if got := newProxy(t, func(o *Options) { o.Keys = keys }).do(signed); got.err != nil {
			t.Errorf("on this machine: %v", got.err)
		}
		far := newProxy(t, func(o *Options) { o.Signed, o.Keys = true, keys })
		if got := far.do(signed); status.Code(got.err) != codes.PermissionDenied || refusedBy(far, "no_keys") != 1 {
			t.Errorf("from elsewhere: %v", got.err)
		}
	}
}

// A host follows its keys: with each request, whatever it remembers.
func TestARotationReachesTheHost(t *testing.T) {
	one, two := signingKey(t, 1), signingKey(t, 2)
	keys := trusting(one)
	p := fraud()
	proxy := newProxy(t, func(o *Options) { o.Signed, o.Keys = true, keys })
	by := func(key signing.Private) error {
		return proxy.do(request{policy: p, signature: signs(t, key, p, fraudRoute), route: fraudRoute, answer: cleanAnswer}).err
	}
	for _, step := range []struct {
		trusted  []signing.Private
		one, two bool
	}{
		{[]signing.Private{one}, true, false},
		{[]signing.Private{one, two}, true, true},
		{[]signing.Private{two}, false, true},
		{[]signing.Private{two, one}, true, true},
		{nil, false, false},
	} {
		var public []signing.Public
		for _, k := range step.trusted {
			public = append(public, k.Public())
		}
		keys.Set("0", public...)
		for range 2 {
			if got := by(one) == nil; got != step.one {
				t.Errorf("with %v, the first key is taken: %v", keys.Current().IDs(), got)
			}
			if got := by(two) == nil; got != step.two {
				t.Errorf("with %v, the second key is taken: %v", keys.Current().IDs(), got)
			}
		}
	}
	if n := len(proxy.server.routes.byText); n != 1 {
		t.Errorf("one policy has %d routes", n)
	}
}

// The ladder as an upstream knows a policy by its digest: of one whose key was
// given up it knows nothing any more.
func TestTheLadderForgetsWhatIsNotTrustedAnyMore(t *testing.T) {
	one := signingKey(t, 1)
	keys := trusting(one)
	p := fraud()
	proxy := newProxy(t, func(o *Options) { o.Signed, o.Keys = true, keys })
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	ask := func() int {
		r := httptest.NewRequest(http.MethodPost, "/v2/models/fraud/infer", strings.NewReader(askOne))
		r.Header.Set(policy.HeaderDigest, policy.Digest(string(text)))
		w := httptest.NewRecorder()
		proxy.server.Upstream().ServeHTTP(w, r)
		return w.Code
	}
	unsigned := proxy.do(request{policy: p, route: fraudRoute})
	if code := ask(); unsigned.err == nil || code != http.StatusServiceUnavailable {
		t.Errorf("a policy that was refused answers %d", code)
	}
	signed := request{policy: p, signature: signs(t, one, p, fraudRoute), route: fraudRoute, answer: cleanAnswer}
	if got := proxy.do(signed); got.err != nil || ask() != http.StatusOK {
		t.Errorf("an admitted policy does not answer, %v", got.err)
	}
	keys.Set("1", signingKey(t, 2).Public())
	if code := ask(); code != http.StatusOK {
		t.Errorf("with another key beside, it answers %d", code)
	}
	keys.Set("0")
	if code := ask(); code != http.StatusServiceUnavailable {
		t.Errorf("with its key given up, it answers %d", code)
	}
	if err := proxy.server.Prepare([]*policy.Policy{p}); err != nil || ask() != http.StatusOK {
		t.Errorf("one of this process's own does not answer, %v", err)
	}
}

func TestRefusalsAreLoggedOnceAndRememberedWithinBounds(t *testing.T) {
	var lines bytes.Buffer
	p := fraud()
	proxy := newProxy(t, func(o *Options) {
		o.Signed, o.Keys = true, trusting(signingKey(t, 1))
		o.Log = telemetry.NewLog(&lines, telemetry.LogOptions{PerSecond: -1}, nil)
	})
	g := proxy.server.routes.gate
	for range 5 {
		proxy.do(request{policy: p, route: fraudRoute})
	}
	if n := strings.Count(lines.String(), "the policy is not signed"); n != 1 {
		t.Errorf("%d lines:\n%s", n, lines.String())
	}
	for i := range mostRefused + mostTold {
		c := carried{policy: "{}", signature: "x", route: fmt.Sprint("default/made-up/", i)}
		if _, err := g.admit(&c); err == nil {
			t.Fatal("admitted")
		}
	}
	if len(g.refused) > mostRefused || len(g.told) > mostTold+int(telemetry.RefusalCount) {
		t.Errorf("it remembers %d, and %d told", len(g.refused), len(g.told))
	}
	if n := strings.Count(lines.String(), "\n"); n > mostTold+int(telemetry.RefusalCount) {
		t.Errorf("%d lines", n)
	}
}

func TestARouteRemembersFewAdmissions(t *testing.T) {
	r, set := &route{}, signing.NewSet()
	for i := range 3 * mostAdmissions {
		r.keep(&admission{set: set, signature: fmt.Sprint(i)})
	}
	n := 0
	for a := r.admitted.Load(); a != nil; a = a.older {
		if n++; a.signature != fmt.Sprint(3*mostAdmissions-n) {
			t.Errorf("%d: %s", n, a.signature)
		}
	}
	if n != mostAdmissions {
		t.Errorf("it remembers %d", n)
	}
}
