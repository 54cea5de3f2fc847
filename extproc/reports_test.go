package extproc

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// TestReportsOfFilters: a report is handed on as one from inside a proxy, whatever it
// says of itself, and every other one is refused with a reason.
func TestReportsOfFilters(t *testing.T) {
	p := newProxy(t)
	var got []*signalsv1.Report
	refuse := error(nil)
	p.server.reports = func(m *signalsv1.Report) error {
		got = append(got, m)
		return refuse
	}
	send := func(body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set(policy.HeaderReport, "1")
		w := httptest.NewRecorder()
		p.server.Upstream().ServeHTTP(w, r)
		return w
	}
	good, err := proto.Marshal(&signalsv1.Report{Reporter: "envoy/wasm-1", Epoch: 1, Sequence: 2, Kills: "all", InFlight: 7, Held: 9})
	if err != nil {
		t.Fatal(err)
	}
	if w := send(good); w.Code != http.StatusNoContent || len(got) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if m := got[0]; !m.InProxy || m.Kills != "" || m.InFlight != 0 || m.Held != 0 || m.Reporter != "envoy/wasm-1" {
		t.Errorf("handed on as %v", m)
	}
	refuse = errors.New("its epoch is no such thing")
	for name, c := range map[string]struct {
		body []byte
		code int
		says string
	}{
		"refused":  {good, http.StatusBadRequest, "its epoch is no such thing"},
		"no proto": {[]byte("{}"), http.StatusBadRequest, "no message of signals.proto"},
		"large":    {make([]byte, mostReport+1), http.StatusRequestEntityTooLarge, "larger than 1 MiB"},
	} {
		if w := send(c.body); w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	p.server.reports = nil
	if w := send(good); w.Code != http.StatusNotFound {
		t.Errorf("where nobody gathers: %d", w.Code)
	}
}

// TestUpstreamIsBroughtAPolicy: a process without files says that it does not know a
// policy, and takes one that is brought as it takes one of Envoy's.
func TestUpstreamIsBroughtAPolicy(t *testing.T) {
	p := newProxy(t)
	pol := fraud()
	text, err := pol.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(more ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/v2/models/fraud/infer", strings.NewReader(`{"id":"1","inputs":[]}`))
		r.Header.Set(policy.HeaderDigest, policy.Digest(string(text)))
		r.Header.Set(policy.HeaderAnswer, "nonfinite outputs[0] NaN")
		for i := 0; i+1 < len(more); i += 2 {
			r.Header.Set(more[i], more[i+1])
		}
		w := httptest.NewRecorder()
		p.server.Upstream().ServeHTTP(w, r)
		return w
	}
	if w := ask(); w.Code != http.StatusServiceUnavailable || w.Header().Get(policy.HeaderPolicyUnknown) == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if w := ask(policy.HeaderPolicyText, "%7Bno policy"); w.Code != http.StatusServiceUnavailable || w.Header().Get(policy.HeaderPolicyUnknown) == "" {
		t.Errorf("no policy at all: %d %v", w.Code, w.Header())
	}
	if w := ask(policy.HeaderPolicyText, url.PathEscape(string(text)), policy.HeaderPolicyRoute, pol.Route); w.Header().Get("x-safestate-source") == "" {
		t.Errorf("brought: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := ask(); w.Header().Get("x-safestate-source") == "" {
		t.Errorf("brought before: %d %v", w.Code, w.Header())
	}
}
