package envoy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// caller keeps what its answers tell it to send back.
type caller struct {
	session *compile.Session
	value   string // as it sends it; empty: nothing yet
}

// ask returns the version that answered, and the response.
func (c *caller) ask(p *proxy, header ...string) (string, reply) {
	if c.value != "" {
		name, value := "cookie", "a=b; "+c.session.Name+"="+c.value+"; c=d"
		if c.session.Header {
			name, value = c.session.Name, c.value
		}
		header = append(header, name, value)
	}
	r := p.post(header...)
	if c.session.Header {
		c.value = r.header.Get(c.session.Name)
	}
	for _, line := range r.header.Values("Set-Cookie") {
		if cookie, err := http.ParseSetCookie(line); err == nil && cookie.Name == c.session.Name {
			c.value = cookie.Value
		}
	}
	return r.body, r
}

// TestSession: a caller stays with one version while the weights stand, from its
// first answer on; a shift moves no more callers than it has to, and a version
// without weight has none, whatever they send.
func TestSession(t *testing.T) {
	for _, session := range []*compile.Session{{Name: "safestate-session"}, {Name: "team", MaxAge: time.Hour}, {Name: "x-session", Header: true}} {
		for policied, p := range map[string]*policy.Policy{"": nil, ", under a policy": enforced(nil)} {
			t.Run(session.Name+policied, func(t *testing.T) {
				t.Parallel()
				o := testOptions(t)
				o.XDS = porttest.Address(t)
				startProcessor(t, o.Processor, nil)
				cache := ownServer(t, o.XDS)
				s := snapshot(t, p, version("v1", saying(t, "v1")), version("v2", saying(t, "v2")), version("v3", saying(t, "v3")))
				s.Routes[0].Session = session
				proxy := start(t, fragment(t, s, o, false), o)
				shift := func(percents map[string]int) {
					t.Helper()
					serveOwn(t, cache, rendered(t, released(s, 1, percents), o))
					eventually(t, fmt.Sprint("the weights are ", percents), func() bool { return weightsAreIn(proxy, percents) })
				}
				shift(map[string]int{"v1": 50, "v2": 50})
				callers, first, seen := make([]*caller, 40), map[*caller]string{}, map[string]int{}
				for i := range callers {
					callers[i] = &caller{session: session}
					first[callers[i]], _ = callers[i].ask(proxy)
					seen[first[callers[i]]]++
				}
				if seen["v1"] < 5 || seen["v2"] < 5 || seen["v3"] != 0 {
					t.Fatalf("first answers came from %v", seen)
				}
				for range 2 {
					for _, c := range callers {
						if got, _ := c.ask(proxy); got != first[c] {
							t.Fatalf("a caller of %s got to %s", first[c], got)
						}
					}
				}
				shift(map[string]int{"v1": 60, "v2": 40})
				for _, c := range callers {
					if got, _ := c.ask(proxy); first[c] == "v1" && got != "v1" {
						t.Errorf("more weight for v1 took a caller from it")
					}
				}
				shift(map[string]int{"v1": 100, "v2": 0})
				for _, c := range callers {
					if got, _ := c.ask(proxy); got != "v1" {
						t.Errorf("a caller of %s got to %s, which has no weight", first[c], got)
					}
				}
			})
		}
	}
}

// weightsAreIn looks for a rule's weights in Envoy's own routes.
func weightsAreIn(p *proxy, percents map[string]int) bool {
	dump := strings.Join(strings.Fields(p.adminGet("/config_dump?resource=dynamic_route_configs")), "")
	for _, v := range []string{"v1", "v2"} {
		if !strings.Contains(dump, fmt.Sprintf(`{"name":"default/fraud/%s","weight":%d}`, v, percents[v])) {
			return false
		}
	}
	return true
}

// saying is a model whose answer is one word.
func saying(t *testing.T, word string) string {
	return newModel(t, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "own", Value: word})
		_, _ = w.Write([]byte(word))
	}).addr
}

// TestSessionName: what a caller gets is a name and nothing that it wrote, once,
// beside the model's own cookies.
func TestSessionName(t *testing.T) {
	s := snapshot(t, nil, version("v1", saying(t, "v1")))
	s.Routes[0].Session = &compile.Session{Name: "team", MaxAge: time.Hour}
	p := startStatic(t, s, testOptions(t))
	for _, c := range []struct{ cookie, id, want string }{
		{"", "", "own team"},
		{"team=abc", "", "own"},
		{"team=", "", "own team"},
		{"steam=abc", "", "own team"},
		{"", "abc-1; Domain=example.com", "own team="},
	} {
		var header []string
		if c.cookie != "" {
			header = append(header, "cookie", c.cookie)
		}
		if c.id != "" {
			header = append(header, "x-request-id", c.id)
		}
		var got []string
		for _, line := range p.post(header...).header.Values("Set-Cookie") {
			cookie, err := http.ParseSetCookie(line)
			switch {
			case err != nil:
				t.Errorf("%+v: %q is no cookie: %v", c, line, err)
			case cookie.Name == "own":
				got = append(got, "own")
			case cookie.Domain != "" || cookie.Path != "/" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge != 3600:
				t.Errorf("%+v: %q", c, line)
			case cookie.Value == "":
				got = append(got, cookie.Name+"=")
			default:
				got = append(got, cookie.Name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}
