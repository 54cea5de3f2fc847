package admin

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// Flagger takes up to 202 for a yes, so whatever goes wrong has to be more.
func TestEveryErrorIsANo(t *testing.T) {
	failing := func() *judging { return observing(evident(release.Failure, 9, 5, "5 of 9")) }
	for name, c := range map[string]struct {
		control Control
		access  Authenticator
		path    string
		change  func(*http.Request)
		status  int
	}{
		"another version":     {path: "/v1/models/default/fraud/versions/v3/flagger/rollback", status: 404},
		"another model":       {path: "/v1/models/default/other/versions/v2/flagger/rollback", status: 404},
		"another path":        {path: "/v1/models/default/fraud/versions/v2/flagger", status: 404},
		"no name":             {path: "/v1/models/default/fraud/versions/V_2/flagger/rollback", status: 400},
		"a parameter":         {path: rollbackHook + "?dry=1", status: 400},
		"a GET":               {path: rollbackHook, change: func(r *http.Request) { r.Method = http.MethodGet }, status: 405},
		"no JSON":             {path: rollbackHook, change: func(r *http.Request) { r.Header.Del("Content-Type") }, status: 415},
		"by an unknown name":  {path: rollbackHook, change: func(r *http.Request) { r.Host = "safestate.example" }, status: 421},
		"nobody knows who":    {path: rollbackHook, access: named{}, status: 401},
		"who may not read it": {path: rollbackHook, access: as{access.Viewer, []access.Pattern{"shop/*"}}, status: 403},
		"the store is away":   {path: rollbackHook, control: &judging{model: failing().model, broken: store.ErrUnavailable}, status: 503},
	} {
		control := c.control
		if control == nil {
			control = failing()
		}
		r := request("POST", c.path, ofFlagger)
		if c.change != nil {
			c.change(r)
		}
		w := send(New(Options{Control: control, Access: c.access, Now: func() time.Time { return now }}), r)
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.status, w.Body)
		}
	}
	if w := send(New(Options{Control: failing()}), request("POST", rollbackHook, ofFlagger)); w.Code != 200 {
		t.Errorf("without any of it: %d %s", w.Code, w.Body)
	}
}

// Nothing in the body matters: another Flagger's fields are no mistake.
func TestTheBodyOfAHookIsItsOwn(t *testing.T) {
	for body, status := range map[string]int{
		`{}`:      200,
		ofFlagger: 200,
		`{"name":7,"metadata":null,"canaryWeight":5}`: 200,
		`{"name":"a","name":"b"}`:                     200,
		"":                                            400,
		"null":                                        400,
		"[]":                                          400,
		"{":                                           400,
		`{"a":"` + strings.Repeat("x", maxBody) + `"}`: 413,
	} {
		api := New(Options{Control: observing(evident(release.Failure, 9, 5, "5 of 9"))})
		if w := send(api, request("POST", rollbackHook, body)); w.Code != status {
			t.Errorf("%.80q: %d, want %d: %s", body, w.Code, status, w.Body)
		}
	}
}

// readerOf may read of one model, as who brings no credential.
type readerOf struct{ pattern access.Pattern }

func (r readerOf) Authenticate(*http.Request) (access.Principal, error) {
	return access.Principal{ID: "anonymous", Name: "anonymous", How: access.HowNone, Grants: []access.Grant{{Roles: []access.Role{access.Viewer}, Scope: access.Scope{Models: []access.Pattern{r.pattern}}}}}, nil
}

func (r readerOf) AuthenticateRPC(context.Context) (access.Principal, error) {
	return r.Authenticate(nil)
}
func (readerOf) Approvals(access.Target) int { return 0 }

// It is a question: whoever may read may ask it, it is nobody's attempt, and it is
// answered anew each time, whatever key it has.
func TestAHookChangesNothing(t *testing.T) {
	control, h := observing(evident(release.Inconclusive, 3, 0, "not enough was seen")), &heard{}
	api := New(Options{Control: control, Access: readerOf{"default/fraud"}, Attempted: h.hear, Now: func() time.Time { return now }})
	ask := func(path string) int {
		r := request("POST", path, ofFlagger)
		r.Header.Set(idempotencyHeader, "the same")
		return send(api, r).Code
	}
	if got := ask(rollbackHook); got != 409 {
		t.Errorf("with little evidence: %d", got)
	}
	evident(release.Failure, 9, 5, "5 of 9")(&control.model.Versions[1])
	if got := ask(rollbackHook); got != 200 {
		t.Errorf("once it fails: %d", got)
	}
	if got := ask("/v1/models/default/other/versions/v2/flagger/rollback"); got != 403 {
		t.Errorf("of a model that is not theirs: %d", got)
	}
	if len(h.all) > 0 || len(control.commands) > 0 {
		t.Errorf("told of %+v, done %v", h.all, control.commands)
	}
	if got := ask("/v1/models/default/fraud/rollback"); got != 403 || len(h.all) == 0 {
		t.Errorf("a rollback by who may read only: %d, and told of %+v", got, h.all)
	}
}
