package admin

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/access"
)

// named knows who asks by the header "Authorization": who brings none is refused.
type named struct{}

func (named) Authenticate(r *http.Request) (access.Principal, error) {
	name := r.Header.Get("Authorization")
	if name == "" {
		return access.Principal{}, &access.Refusal{Class: access.Unauthenticated, Message: "nobody knows who asks"}
	}
	return access.Principal{ID: "token:" + name, Name: "token:" + name, How: "token", Address: "10.0.0.1",
		Grants: []access.Grant{{Roles: []access.Role{access.Viewer}, Scope: access.Scope{Models: []access.Pattern{"*"}}}}}, nil
}

func (named) AuthenticateRPC(context.Context) (access.Principal, error) {
	return access.Principal{}, nil
}
func (named) Approvals(access.Target) int { return 0 }

// heard collects attempts.
type heard struct {
	mu  sync.Mutex
	all []Attempt
}

func (h *heard) hear(a Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, a)
}

// by counts what is told of somebody.
func (h *heard) by(name string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.all {
		if a.By == name {
			n++
		}
	}
	return n
}

// A flood of refused requests writes little, hides nobody else's, and is told of.
func TestAFloodOfAttemptsHidesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{}
		api := New(Options{Control: &fakeControl{}, Access: named{}, Attempted: h.hear})
		ask := func(who string) {
			r := request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"wrong"}`)
			if who != "" {
				r.Header.Set("Authorization", who)
			}
			send(api, r)
		}
		for range 5000 {
			ask("")
			ask("mallory")
		}
		ask("ann")
		if nobody, mallory, ann := h.by("nobody"), h.by("token:mallory"), h.by("token:ann"); nobody != 10 || mallory != 100 || ann != 1 {
			t.Errorf("told %d of nobody, %d of mallory and %d of ann", nobody, mallory, ann)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		last := h.all[len(h.all)-1]
		if h.by("safestate") != 1 || last.LeftOut != 9890 || !strings.Contains(last.Why, "4990 of nobody, 4900 of token:mallory") {
			t.Errorf("of what was left out is told %+v", last)
		}
		ask("mallory")
		for range 500 {
			ask("mallory")
		}
		api.Leave()
		if h.by("safestate") != 2 {
			t.Error("what was left out is not told at the end")
		}
		time.Sleep(time.Hour)
		if h.by("safestate") != 2 {
			t.Error("of nothing is told")
		}
	})
}

// A page that somebody looks at may send requests: nobody asked for them.
func TestPagesAreNoAttempts(t *testing.T) {
	h := &heard{}
	api := New(Options{Control: &fakeControl{}, Access: named{}, Attempted: h.hear})
	r := request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"wrong"}`)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Authorization", "ann")
	backup := request(http.MethodGet, "/v1/store/backup", "")
	backup.Header.Set("Sec-Fetch-Site", "cross-site")
	for _, r := range []*http.Request{r, backup} {
		if w := send(api, r); w.Code != http.StatusForbidden || len(h.all) != 0 {
			t.Errorf("%d, and told %+v", w.Code, h.all)
		}
	}
}

// A refused attempt is about what the entry of one that is done is about.
func TestAttemptsNameTheirTarget(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/models/shop/rank/rollback":   "model/shop/rank",
		"/v1/models/shop/rank/rollout":    "model/shop/rank",
		"/v1/policies/shop/safe/rollback": "policy/shop/safe",
		"/v1/proxies/edge-1/deregister":   "proxy/edge-1",
		"/v1/keys/rotate":                 "key",
		"/v1/store/backup":                "store",
		"/v1/kill":                        "/v1/kill", // nobody reads what who may kill nothing says
	} {
		h := &heard{}
		api := New(Options{Control: &fakeControl{}, Access: named{}, Attempted: h.hear})
		method := http.MethodPost
		if strings.HasSuffix(path, "backup") {
			method = http.MethodGet
		}
		r := request(method, path, "{}")
		r.Header.Set("Authorization", "ann")
		if send(api, r); len(h.all) != 1 || h.all[0].Target != want {
			t.Errorf("%s is told as %+v, want %s", path, h.all, want)
		}
	}
	h := &heard{}
	api := New(Options{Control: &fakeControl{}, Access: narrow{[]access.Role{access.Responder, access.Approver}}, Attempted: h.hear})
	for path, more := range map[string]string{"/v1/kill": "", "/v1/revive": `"generation":1,`, "/v1/approve": `"generation":1,"ask":1,`} {
		send(api, request(http.MethodPost, path, `{"target":"model/shop/rank",`+more+`"reason":"x"}`))
	}
	for _, a := range h.all {
		if len(h.all) != 3 || a.Target != "model/shop/rank" {
			t.Errorf("%+v", a)
		}
	}
}
