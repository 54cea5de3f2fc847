package probe

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/envoy"
)

// asked is Ask, again where a busy machine had no answer in time.
func asked(t *testing.T, address, node string, connections int) (seen Seen) {
	for range 20 {
		if seen = Ask(t.Context(), address, node, connections); !strings.Contains(seen.Problem, "no answer within") {
			break
		}
	}
	return seen
}

func TestAsk(t *testing.T) {
	var stale atomic.Int64
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set := "new"
		if stale.Add(-1) >= 0 {
			set = "old"
		}
		if r.Host != envoy.ProbeDomain || !r.Close {
			set = "of another"
		}
		w.Header().Set(envoy.ProbeNode, "edge")
		fmt.Fprintf(w, `{"killGeneration":7,"set":%q}`, set)
	})
	plainly := httptest.NewServer(answer)
	defer plainly.Close()
	secretly := httptest.NewTLSServer(answer)
	defer secretly.Close()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	local := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer}}
	local.Start()
	defer local.Close()
	for _, address := range []string{plainly.URL, secretly.URL, "unix://" + socket} {
		if seen := asked(t, address, "edge", 8); !seen.Shows("new") || seen.Shows("old") {
			t.Errorf("%s: %+v", address, seen)
		}
	}
	if seen := asked(t, plainly.URL, "edge-2", 8); seen.Shows("new") || !strings.Contains(seen.Problem, `the proxy "edge" answers`) {
		t.Errorf("another proxy is there: %+v", seen)
	}
	both := Seen{}.And(asked(t, plainly.URL, "edge", 4)).And(asked(t, secretly.URL, "edge", 4))
	if !both.Shows("new") || both.Asked != 8 {
		t.Errorf("of two: %+v", both)
	}
	if both = both.And(Seen{Asked: 4, Problem: "refused"}); both.Shows("new") || both.Problem != "refused" || both.Sets["new"] != 8 {
		t.Errorf("of three: %+v", both)
	}
	stale.Store(1)
	if seen := Ask(t.Context(), plainly.URL, "edge", 8); seen.Shows("new") || seen.Sets["old"] != 1 || seen.Answered != 8 {
		t.Errorf("one worker is behind: %+v", seen)
	}
}

func TestAskInVain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for address, want := range map[string]string{
		"http://" + l.Addr().String(): "no answer within 1s",
		other.URL:                     "status 404",
		gone.URL:                      "refused",
		"ftp://x":                     "want http://host:port",
	} {
		seen := Ask(t.Context(), address, "edge", 2)
		if seen.Shows("new") || seen.Answered != 0 || !strings.Contains(seen.Problem, want) {
			t.Errorf("%s: %+v, want %q", address, seen, want)
		}
	}
	if (Seen{}).Shows("") {
		t.Error("nothing was asked, and it shows something")
	}
}
