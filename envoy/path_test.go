package envoy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
)

// send asks for a path exactly as it is written, which Go's client would not.
func (p *proxy) send(method, target string) int {
	p.t.Helper()
	c, err := net.Dial("tcp", p.listen)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nhost: model.example\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", method, target); err != nil {
		p.t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// TestOneSpelling: what the model's server would read as a prediction is
// matched as one, however the path is spelled, and the model gets the spelling
// that was matched. The policy is on a prefix, beside which everything is let
// through, so that the choice of the route is held too.
func TestOneSpelling(t *testing.T) {
	o := testOptions(t)
	ours := startProcessor(t, o.Processor, nil)
	m := newModel(t, nil)
	s := snapshot(t, enforced(nil), version("v1", m.addr))
	s.Routes = append(s.Routes, compile.Route{Name: "default/fraud/rest", Backends: s.Routes[0].Backends})
	s.Hosts[0].Entries = []compile.Entry{
		{Match: compile.Match{PathType: compile.PathPrefix, Path: "/v2/models/fraud"}, Route: 0},
		{Match: compile.Match{PathType: compile.PathPrefix, Path: "/"}, Route: 1},
	}
	p := startStatic(t, s, o)
	for target, want := range map[string]string{ // what the model is asked for
		inferPath:                                      inferPath,
		"/v2/models/fraud/versions/v1%2Finfer":         "/v2/models/fraud/versions/v1/infer",
		"/v2/models/fraud/versions/v1%2finfer?a=b":     "/v2/models/fraud/versions/v1/infer?a=b",
		"/v2%2Fmodels%2Ffraud%2Finfer":                 inferPath,
		"%2Fv2/models/fraud/infer":                     "",
		"/v2/models/fraud%5Cinfer":                     inferPath,
		`/v2/models/fraud\infer`:                       inferPath,
		"/v2/models/fraud/%69nfer":                     inferPath,
		"/v2/models/%66raud/inf%65%72":                 inferPath,
		"//v2//models/fraud//infer":                    inferPath,
		"/v2/models/fraud/./infer":                     inferPath,
		"/v2/models/other/../fraud/infer":              inferPath,
		"/v2/models/other/%2e%2e/fraud/infer":          inferPath,
		"/v2/models/other%2F..%2Ffraud/infer":          inferPath,
		"/v2/models/fraud/infer/ready%2F..":            inferPath + "/",
		"/v2/models/fraud/infer/":                      inferPath + "/",
		"/v2/models/fraud/infer%2F":                    inferPath + "/",
		"/v2/models/fraud/infer/.":                     inferPath + "/",
		"http://model.example/v2/models/fraud%2Finfer": inferPath,
	} {
		seen, called := ours.seen.Load(), m.calls.Load()
		status := p.send("POST", target)
		if want == "" {
			if status != 400 || m.calls.Load() != called {
				t.Errorf("%s: %d, want a 400", target, status)
			}
			continue
		}
		if status != 200 || m.calls.Load() != called+1 {
			t.Errorf("%s: %d after %d calls", target, status, m.calls.Load()-called)
			continue
		}
		if got := m.last.Load().RequestURI; got != want {
			t.Errorf("%s: the model was asked for %q, want %q", target, got, want)
		}
		if ours.seen.Load() != seen+1 {
			t.Errorf("%s: passed without the processor", target)
		}
	}
	// Of an escape of an escape the server decodes one layer, as we do.
	for _, target := range []string{"/v2/models/fraud%252Finfer", "/v2/models/fraud/ready"} {
		before := ours.seen.Load()
		if status := p.send("POST", target); status != 200 || m.last.Load().RequestURI != target || ours.seen.Load() != before {
			t.Errorf("%s: %d, the model was asked for %q, the processor %d times", target, status, m.last.Load().RequestURI, ours.seen.Load()-before)
		}
	}
}
