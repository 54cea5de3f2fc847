package admin

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
)

const rollbackPath = "/v1/models/default/fraud/rollback"

func TestHostIsChecked(t *testing.T) {
	h := New(Options{Control: &fakeControl{}, Hosts: []string{"Safestate.internal"}})
	for host, status := range map[string]int{
		"127.0.0.1:8686":         200,
		"127.0.0.1":              200,
		"localhost:8686":         200,
		"LOCALHOST":              200,
		"localhost.":             200,
		"[::1]:8686":             200,
		"[::1]":                  200,
		"safestate.internal":     200,
		"safestate.internal:80":  200,
		"evil.example":           421,
		"127.0.0.1.evil.example": 421,
		"localhost.evil.example": 421,
		"10.0.0.5:8686":          421,
		"":                       421,
	} {
		for _, method := range []string{"GET", "POST"} {
			path := "/v1/status"
			if method == "POST" {
				path = rollbackPath
			}
			r := request(method, path, `{"reason":"x"}`)
			r.Host = host
			if got := send(h, r).Code; got != status {
				t.Errorf("%s with host %q: %d, want %d", method, host, got, status)
			}
		}
	}
}

func TestContentTypeIsChecked(t *testing.T) {
	for value, status := range map[string]int{
		"application/json":                  200,
		"application/json; charset=utf-8":   200,
		"application/json; charset=UTF-8":   200,
		"":                                  415,
		"text/plain":                        415,
		"application/x-www-form-urlencoded": 415,
		"application/json; charset=utf-16":  415,
		"application/json; profile=x":       415,
		"application/json, text/plain":      415,
		"text/plain; application/json":      415,
		"application/problem+json":          415,
	} {
		r := request("POST", rollbackPath, `{"reason":"x"}`)
		r.Header.Set("Content-Type", value)
		if got := send(serve(&fakeControl{}), r).Code; got != status {
			t.Errorf("content type %q: %d, want %d", value, got, status)
		}
	}
	r := request("POST", rollbackPath, `{"reason":"x"}`)
	r.Header.Set("Content-Encoding", "gzip")
	wants(t, send(serve(&fakeControl{}), r), 415, "Content-Encoding")
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	f := &fakeControl{}
	for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"} {
		r := request("POST", rollbackPath, `{"reason":"x"}`)
		r.Header.Set(name, value)
		wants(t, send(serve(f), r), 403, "another origin")
	}
	r := request("OPTIONS", rollbackPath, "")
	r.Header.Set("Origin", "https://evil.example")
	w := send(serve(f), r)
	if w.Code != 405 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a preflight: %d %v", w.Code, w.Header())
	}
	if len(f.calls()) > 0 {
		t.Errorf("done: %q", f.calls())
	}
}

func TestOnlyThisMachineChanges(t *testing.T) {
	for _, c := range []struct {
		peer, header, value string
		get, post           int
	}{
		{"127.0.0.1:1", "", "", 200, 200},
		{"127.8.8.8:1", "", "", 200, 200},
		{"[::1]:1", "", "", 200, 200},
		{"[::ffff:127.0.0.1]:1", "", "", 200, 200},
		{"10.0.0.5:1", "", "", 200, 403},
		{"[fe80::1%eth0]:1", "", "", 200, 403},
		{"nonsense", "", "", 200, 403},
		{"127.0.0.1:1", "X-Forwarded-For", "10.0.0.5", 200, 403},
		{"127.0.0.1:1", "X-Request-Id", "1f1c1d7e", 200, 403}, // all that Envoy says of itself by default
		{"127.0.0.1:1", "X-Real-Ip", "10.0.0.5", 200, 403},
		{"127.0.0.1:1", "Forwarded", "for=10.0.0.5", 200, 403},
		{"10.0.0.5:1", "X-Forwarded-For", "127.0.0.1", 200, 403},
	} {
		f := &fakeControl{}
		for method, want := range map[string]int{"GET": c.get, "POST": c.post} {
			path := "/v1/status"
			if method == "POST" {
				path = rollbackPath
			}
			r := request(method, path, `{"reason":"x"}`)
			r.RemoteAddr = c.peer
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
			w := send(serve(f), r)
			if w.Code != want {
				t.Errorf("%s from %s (%s %s): %d, want %d: %s", method, c.peer, c.header, c.value, w.Code, want, w.Body)
			}
			if want == 403 {
				wants(t, w, 403, "from this machine only")
			}
		}
		if done := len(f.calls()) > 0; done != (c.post == 200) {
			t.Errorf("from %s: %q", c.peer, f.calls())
		}
	}
	// A backup is everything that there is: it is not for every reader.
	r := request("GET", "/v1/store/backup", "")
	r.RemoteAddr = "10.0.0.5:1"
	wants(t, send(serve(&fakeControl{}), r), 403)
}

func TestWhoAsked(t *testing.T) {
	for user, want := range map[string]string{
		"":            "rollback default/fraud  by local: x",
		"alice":       "rollback default/fraud  by local:alice (claimed)",
		`CORP\al.ice`: `rollback default/fraud  by local:CORP\al.ice (claimed)`,
		"bob (chief)": "",
		"a\x1b[2Jb":   "",
		"local:x":     "",
		"-":           "",
	} {
		f := &fakeControl{}
		r := request("POST", rollbackPath, `{"reason":"x"}`)
		r.Header.Set(access.UserHeader, user)
		w := send(serve(f), r)
		switch {
		case want == "" && (w.Code != 400 || len(f.calls()) > 0):
			t.Errorf("%q: %d %q", user, w.Code, f.calls())
		case want == "":
		case w.Code != 200 || len(f.calls()) != 1 || !slices.ContainsFunc(f.calls(), func(s string) bool { return len(s) >= len(want) && s[:len(want)] == want }):
			t.Errorf("%q: %d %q, want %q", user, w.Code, f.calls(), want)
		}
	}
}

// Who knows nobody lets nobody in.
type nobody struct{}

func (nobody) Authenticate(*http.Request) (access.Principal, error) {
	return access.Principal{}, &Problem{Status: 401, Message: "show a certificate"}
}

type viewer struct{}

func (viewer) Authenticate(*http.Request) (access.Principal, error) {
	return access.Principal{ID: "token:eve", Name: "eve", Grants: []access.Grant{{Roles: []access.Role{access.Viewer}, Scope: access.Scope{Models: []access.Pattern{"*"}}}}}, nil
}

func TestAnotherAuthenticatorTakesLoopbacksPlace(t *testing.T) {
	f := &fakeControl{}
	h := New(Options{Control: f, Access: nobody{}})
	wants(t, send(h, request("GET", "/v1/status", "")), 401, "show a certificate")
	h = New(Options{Control: f, Access: viewer{}})
	wants(t, send(h, request("GET", "/v1/status", "")), 200)
	wants(t, send(h, request("POST", rollbackPath, `{"reason":"x"}`)), 403, `eve has no role operator`)
	if len(f.calls()) > 0 {
		t.Errorf("done: %q", f.calls())
	}
}

func TestTooManyChanges(t *testing.T) {
	clock := &changeable{t: now}
	f := &fakeControl{}
	h := New(Options{Control: f, Now: clock.now})
	for range int(changeRate.atOnce) {
		wants(t, send(h, request("POST", rollbackPath, `{"reason":"x"}`)), 200)
	}
	w := send(h, request("POST", rollbackPath, `{"reason":"x"}`))
	wants(t, w, 429)
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	// Another kind of change has room of its own, and so have reads.
	wants(t, send(h, request("POST", "/v1/models/default/fraud/rollout", `{"action":"pause"}`)), 200)
	wants(t, send(h, request("GET", "/v1/status", "")), 200)
	clock.move(time.Second)
	for range int(changeRate.perSecond) {
		wants(t, send(h, request("POST", rollbackPath, `{"reason":"x"}`)), 200)
	}
	wants(t, send(h, request("POST", rollbackPath, `{"reason":"x"}`)), 429)
	clock.move(-time.Hour) // a clock that was set back takes nothing away
	clock.move(2 * time.Hour)
	wants(t, send(h, request("POST", rollbackPath, `{"reason":"x"}`)), 200)
}

// A loop that starts rollouts, or that asks for the history, is in nobody's way.
func TestALoopIsInNobodysWay(t *testing.T) {
	f := &fakeControl{}
	h := serve(f)
	const path = "/v1/models/default/fraud/rollout"
	start := func() int {
		return send(h, request("POST", path, `{"action":"start","version":"v2","reason":"x"}`)).Code
	}
	for start() == 200 {
	}
	if got := start(); got != 429 {
		t.Fatalf("a start after too many: %d", got)
	}
	wants(t, send(h, request("POST", path, `{"action":"abort","reason":"x"}`)), 200)
	other := request("POST", path, `{"action":"start","version":"v2","reason":"x"}`)
	other.Header.Set(access.UserHeader, "ann")
	wants(t, send(h, other), 200)

	remote := func() *http.Request {
		r := request("GET", "/v1/history", "")
		r.RemoteAddr = "192.0.2.7:1"
		return r
	}
	n := 0
	for send(h, remote()).Code == 200 {
		n++
	}
	if n != int(historyRate.atOnce) {
		t.Errorf("%d histories at once, want %v", n, historyRate.atOnce)
	}
	wants(t, send(h, request("GET", "/v1/history", "")), 200)
}

func TestLimitsAreBounded(t *testing.T) {
	l := newBuckets()
	r := rate{1, 2}
	for i := range 3 * mostLimits {
		l.take(fmt.Sprint("remote:", i), "GET /v1/history", r, now)
	}
	if n := len(l.all); n > mostLimits+1 {
		t.Errorf("%d buckets", n)
	}
	if _, ok := l.take("remote:new", "GET /v1/history", r, now); ok {
		t.Error("more principals than there may be have more than one bucket")
	}
	if _, ok := l.take("remote:new", "GET /v1/history", r, now.Add(time.Hour)); !ok || len(l.all) > 10 {
		t.Errorf("an hour later: %v, with %d buckets", ok, len(l.all))
	}
}

// An image on a page that a person looks at makes no backup, and searches no trail.
func TestWhatIsDearIsNotForPages(t *testing.T) {
	f := &fakeControl{backup: func(w io.Writer) error { _, err := w.Write([]byte("all")); return err }}
	h := New(Options{Control: f, Trail: &fakeTrail{}})
	for site, want := range map[string]int{"": 200, "none": 200, "same-origin": 200, "cross-site": 403, "same-site": 403} {
		for _, path := range []string{"/v1/store/backup", "/v1/audit", "/v1/audit/export"} {
			r := request("GET", path, "")
			if site != "" {
				r.Header.Set("Sec-Fetch-Site", site)
			}
			wants(t, send(h, r), want)
		}
	}
}
