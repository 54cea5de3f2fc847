package istio

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// patience bounds every wait: istiod collects changes for a tenth of a second,
// and machines are busy.
const patience = 30 * time.Second

// backend is a model that answers with its name, and with the headers that it
// got behind X-Got-.
type backend struct{ port int }

func newBackend(t *testing.T, name string) *backend {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for header, values := range r.Header {
			w.Header()["X-Got-"+header] = values
		}
		_, _ = io.WriteString(w, name) // the client is gone: nobody is left to tell
	}))
	t.Cleanup(server.Close)
	address, ok := server.Listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("no TCP address: %v", server.Listener.Addr())
	}
	return &backend{address.Port}
}

// answer is what came back for one request; status 0 with an error where
// nothing did.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// ask asks a port of this machine for a path of a host, over a connection of
// its own: an open one stays with the listener that it came by.
func ask(port int, host, path string, headers ...string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return answer{err: err}
	}
	r.Host, r.Close = host, true
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body), err}
}

// eventually waits until an answer is as it should be.
func eventually(t *testing.T, what string, ask func() answer, holds func(answer) bool) {
	t.Helper()
	var last answer
	defer func() {
		if t.Failed() {
			t.Logf("%s: the last answer was %+v", what, last)
		}
	}()
	dataplane.Eventually(t, patience, what, func() bool {
		last = ask()
		return holds(last)
	})
}

func ok(a answer) bool { return a.status == http.StatusOK }

// share asks n times, all of which have to be answered, and returns how many
// had v2's name.
func share(t *testing.T, n int, ask func() answer) int {
	t.Helper()
	v2 := 0
	for range n {
		a := ask()
		if a.status != http.StatusOK {
			t.Fatalf("not answered: %+v", a)
		}
		if a.body == "v2" {
			v2++
		}
	}
	return v2
}
