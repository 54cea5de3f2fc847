package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

func TestEveryRouteAsksControl(t *testing.T) {
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/v1/models/default/fraud", "", "model default/fraud"},
		{"GET", "/v1/history", "", "history {Model: Policy: Limit:50}"},
		{"GET", "/v1/history?model=default/fraud&limit=3", "", "history {Model:default/fraud Policy: Limit:3}"},
		{"GET", "/v1/history?policy=default/strict", "", "history {Model: Policy:default/strict Limit:50}"},
		{"POST", "/v1/models/default/fraud/rollout", `{"action":"start","version":"v2","reason":"new"}`, "start default/fraud v2 by local: new"},
		{"POST", "/v1/models/default/fraud/rollout", `{"action":"pause"}`, "pause default/fraud  by local: "},
		{"POST", "/v1/models/default/fraud/rollout", `{"action":"abort","reason":"bad"}`, "abort default/fraud  by local: bad"},
		{"POST", "/v1/models/default/fraud/rollback", `{"to":"v1","reason":"bad"}`, "rollback default/fraud v1 by local: bad"},
		{"POST", "/v1/policies/default/strict/rollback", `{"to":3,"reason":"bad"}`, "policy rollback default/strict to 3 by local: bad"},
		{"POST", "/v1/policies/default/strict/unpin", `{"reason":"mended"}`, "policy unpin default/strict to 0 by local: mended"},
		{"POST", "/v1/proxies/edge%2F3/deregister", `{"reason":"gone"}`, "deregister edge/3 by local: gone"},
	} {
		f := &fakeControl{}
		w := send(serve(f), request(c.method, c.path, c.body))
		if w.Code != http.StatusOK || !slices.Equal(f.calls(), []string{c.want}) {
			t.Errorf("%s %s: %d %s, asked %q, want %q", c.method, c.path, w.Code, w.Body, f.calls(), c.want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %q", c.path, got)
		}
	}
}

func TestCommandCarriesEveryField(t *testing.T) {
	f := &fakeControl{}
	body := `{"action":"start","version":"v2","reason":"new","force":true,"expectGeneration":7,
		"steps":[{"weight":5,"duration":"2m","minRequests":100,"gate":true},{"weight":100}]}`
	wants(t, send(serve(f), request("POST", "/v1/models/default/fraud/rollout", body)), 200, `"generation": 8`)
	want := release.Command{
		Do: release.Start, Version: "v2", Reason: "new", Force: true, Generation: 7, By: "local",
		Steps: []release.Step{{Weight: 5, Duration: release.Duration(2 * time.Minute), MinRequests: 100, Gate: true}, {Weight: 100}},
	}
	if got := fmt.Sprintf("%+v", f.commands[0]); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got %s, want %+v", got, want)
	}
}

func TestBadRequestsChangeNothing(t *testing.T) {
	const rollout, rollback = "/v1/models/default/fraud/rollout", "/v1/models/default/fraud/rollback"
	for _, c := range []struct {
		path, body string
		status     int
		field      string
		message    string
	}{
		{rollout, ``, 400, "", "no JSON object"},
		{rollout, `null`, 400, "", "no JSON object"},
		{rollout, `[]`, 400, "", "no JSON object"},
		{rollout, `{`, 400, "", "no valid JSON"},
		{rollout, `{"action":"pause"} {}`, 400, "", "no valid JSON"},
		{rollout, "{\"action\":\"pause\",\"reason\":\"\xff\"}", 400, "", "not UTF-8"},
		{rollout, `{}`, 400, "action", "is missing"},
		{rollout, `{"action":"stop"}`, 400, "action", "is none of start, pause, resume, promote, abort"},
		{rollout, `{"action":"rollback","reason":"x"}`, 400, "action", "is none of"},
		{rollout, `{"action":"pause","colour":1}`, 400, "colour", "is no field"},
		{rollout, `{"Action":"pause"}`, 400, "Action", "is no field"},
		{rollout, `{"action":"pause","action":"abort"}`, 400, "action", "is there twice"},
		{rollout, `{"action":7}`, 400, "action", "JSON number"},
		{rollout, `{"action":"pause","force":null}`, 400, "force", "is null"},
		{rollout, `{"action":"start","version":"v2","reason":"x","steps":[{"weight":5},{"weight":null}]}`, 400, "steps[1].weight", "is null"},
		{rollout, `{"action":"abort","reason":"x","hold":7}`, 400, "hold", "JSON number"},
		{rollout, `{"action":"abort","reason":"x","hold":"soon"}`, 400, "hold", "is no duration"},
		{rollout, `{"action":"start","reason":"x"}`, 400, "version", "is missing"},
		{rollout, `{"action":"start","reason":"x","version":"V 2"}`, 400, "version", "is no name"},
		{rollout, `{"action":"start","version":"v2"}`, 400, "reason", "is missing"},
		{rollout, `{"action":"start","version":"v2","reason":"  "}`, 400, "reason", "is missing"},
		{rollout, `{"action":"start","version":"v2","reason":"a\u001b[2J"}`, 400, "reason", "cannot be printed"},
		{rollout, `{"action":"start","version":"v2","reason":"a\u202eb"}`, 400, "reason", "cannot be printed"},
		{rollout, `{"action":"start","version":"v2","reason":"` + strings.Repeat("x", 1001) + `"}`, 400, "reason", "longer than 1000"},
		{rollout, `{"action":"pause","version":"v2"}`, 400, "version", "start only"},
		{rollout, `{"action":"pause","steps":[]}`, 400, "steps", "start only"},
		{rollout, `{"action":"pause","full":true}`, 400, "full", "promote only"},
		{rollout, `{"action":"promote","force":true}`, 400, "reason", "is missing"},
		{rollout, `{"action":"abort"}`, 400, "reason", "is missing"},
		{rollout, `{"action":"start","version":"v2","reason":"x","steps":[{"weight":101}]}`, 400, "steps", "101"},
		{rollout, `{"action":"start","version":"v2","reason":"x","steps":[{"weight":1,"speed":2}]}`, 400, "steps[0].speed", "is no field"},
		{rollout, `{"action":"start","version":"v2","reason":"x","steps":[{"weight":1,"duration":"soon"}]}`, 400, "steps", "is no duration"},
		{rollout, `{"action":"pause","expectGeneration":-1}`, 400, "expectGeneration", "does not fit"},
		{rollback, `{}`, 400, "reason", "is missing"},
		{rollback, `{"to":"../x","reason":"x"}`, 400, "to", "is no name"},
		{rollback, `{"to":"v1","reason":"x","version":"v1"}`, 400, "version", "is no field"},
		{"/v1/policies/default/strict/rollback", `{"to":"3","reason":"x"}`, 400, "to", "JSON string"},
		{"/v1/policies/default/strict/unpin", `{}`, 400, "reason", "is missing"},
		{"/v1/proxies/edge-3/deregister", `{"reason":""}`, 400, "reason", "is missing"},
		{"/v1/models/Default/fraud/rollback", `{"reason":"x"}`, 400, "namespace", "is no name"},
		{"/v1/models/default/fraud/rollback?dry=1", `{"reason":"x"}`, 400, "dry", "is no parameter"},
		{rollback, `{"reason":"` + strings.Repeat("x", 70_000) + `"}`, 413, "", "larger than 64 KiB"},
	} {
		f := &fakeControl{}
		w := send(serve(f), request("POST", c.path, c.body))
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %s", c.body, w.Body)
		}
		if w.Code != c.status || p.Field != c.field || !strings.Contains(p.Message, c.message) {
			t.Errorf("%s %.90s: %d %+v, want %d, field %q and %q", c.path, c.body, w.Code, p, c.status, c.field, c.message)
		}
		if len(f.calls()) > 0 {
			t.Errorf("%s: it was done all the same: %q", c.body, f.calls())
		}
	}
}

func TestQueriesAreChecked(t *testing.T) {
	for path, field := range map[string]string{
		"/v1/history?limit=0":                            "limit",
		"/v1/history?limit=1001":                         "limit",
		"/v1/history?limit=many":                         "limit",
		"/v1/history?model=fraud":                        "model",
		"/v1/history?model=a/b&policy=a/b":               "policy",
		"/v1/history?since=yesterday":                    "since",
		"/v1/history?limit=1&limit=2":                    "limit",
		"/v1/status?verbose=1":                           "verbose",
		"/v1/status?a=%zz":                               "query",
		"/v1/history?model=":                             "model",
		"/v1/models/default/" + strings.Repeat("x", 254): "name",
		"/v1/models/default/fr%0aud":                     "name",
	} {
		wants(t, send(serve(&fakeControl{}), request("GET", path, "")), 400, `"field": "`+field+`"`)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	h := serve(&fakeControl{})
	wants(t, send(h, request("GET", "/v1/models/default/other", "")), 404, "there is no model default/other")
	wants(t, send(h, request("GET", "/v1/nothing", "")), 404, `there is no \"/v1/nothing\"`)
	wants(t, send(h, request("POST", "/v1/models//../rollback", `{"reason":"x"}`)), 404, "there is no") // and no redirect
	w := send(h, request("POST", "/v1/status", "{}"))
	wants(t, w, 405, "want GET")
	if got := w.Header().Get("Allow"); got != "GET" {
		t.Errorf("Allow: %q", got)
	}
	w = send(h, request("GET", "/v1/models/default/fraud/rollout", ""))
	wants(t, w, 405, "want POST")
}

func TestErrorsOfControl(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		texts  []string
	}{
		{fmt.Errorf("%w: no rollout of default/fraud runs", release.ErrRefused), 409, []string{"no rollout of default/fraud runs", `"generation": 7`}},
		{Conflict(9, "the generation is 9"), 409, []string{`"generation": 9`}},
		{fmt.Errorf("put: %w", store.ErrUnavailable), 503, []string{"store unavailable", "look again"}},
		{fmt.Errorf("put: %w", store.ErrConflict), 409, []string{"somebody else"}},
		{context.DeadlineExceeded, 503, nil},
		{errors.New("the disk is full"), 500, []string{"the disk is full"}},
		{fmt.Errorf("wrapped: %w", Invalid("to", "is unknown")), 400, []string{`"field": "to"`}},
	} {
		wants(t, send(serve(&fakeControl{err: c.err}), request("POST", "/v1/models/default/fraud/rollback", `{"reason":"x"}`)), c.status, c.texts...)
	}
}

// A status is told with its troubles, and lists are never null.
func TestStatusIsJudged(t *testing.T) {
	w := send(serve(&fakeControl{}), request("GET", "/v1/status", ""))
	wants(t, w, 200, `"well": true`, "no proxy gets its configuration from here")
	if strings.Contains(w.Body.String(), "null") {
		t.Errorf("null in %s", w.Body)
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	w := send(serve(&fakeControl{}), request("GET", "/v1/openapi.json", ""))
	wants(t, w, 200, `"openapi": "3.1.0"`)
}

// What a terminal would act on does not come through, and the JSON means the
// same.
func TestAnswersAreEscaped(t *testing.T) {
	const hostile = "a\x1b[2J\x7f\u009b31m\u202e\U000e0041\u2028é漢<&>"
	body, err := encode(Problem{Message: hostile})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range string(body) {
		if r != '\n' && !printable(string(r)) {
			t.Errorf("%U is in %q", r, body)
		}
	}
	var back Problem
	if err := json.Unmarshal(body, &back); err != nil || back.Message != hostile {
		t.Errorf("it became %q (%v)", back.Message, err)
	}
	if !strings.Contains(string(body), "é漢<&>") {
		t.Errorf("what prints is escaped: %s", body)
	}
}
