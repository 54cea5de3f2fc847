package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// newModel starts a version, whose requests say how it is to fail.
func newModel(t *testing.T, version string) *fm.Server {
	t.Helper()
	m, err := fm.Start(fm.Options{Version: version, FaultHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// headerSecond is a request's header that says what version v2 alone answers.
const headerSecond = "X-Second-Says"

// newSecond starts a version v2 that scores, or says what headerSecond has, and tells
// of the credentials that it got. It returns its port.
func newSecond(t *testing.T) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var asked struct{ ID string }
		if err == nil {
			err = json.Unmarshal(body, &asked)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		score := r.Header.Get(headerSecond)
		if score == "" {
			score = "0.25"
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"model_name":"second","model_version":"v2","id":%q,"parameters":{"authorization":%q},`+ // who left does not mind
			`"outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[%s]}]}`, asked.ID, r.Header.Get("Authorization"), score)
	})
}

// newFeed serves what a default's refresh reads. It returns its URL.
func newFeed(t *testing.T) string {
	t.Helper()
	return "http://127.0.0.1:" + serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, tensor("0.875")) // who left does not mind
	}) + "/"
}

// serve starts a server, which ends with the test, and returns its port.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
