package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/release"
)

// as is somebody with one role in a scope.
type as struct {
	role   access.Role
	models []access.Pattern
}

func (a as) Authenticate(*http.Request) (access.Principal, error) {
	return access.Principal{ID: "token:x", Name: "token:x", Grants: []access.Grant{{Roles: []access.Role{a.role}, Scope: access.Scope{Models: a.models}}}}, nil
}

// Every route asks package access, with an action that it knows and a target of
// its kind: who has the role for everything passes, who has another does not.
func TestEveryRouteIsAuthorized(t *testing.T) {
	for _, r := range routes {
		path := strings.NewReplacer("{namespace}", "default", "{name}", "fraud", "{version}", "v2", "{node}", "edge").Replace(r.path)
		for _, role := range access.Roles() {
			c := &fakeControl{backup: func(io.Writer) error { return nil }}
			h := New(Options{Control: c, Access: as{role, []access.Pattern{"*"}}})
			body := ""
			if r.method == "POST" {
				body = "{}"
			}
			got := send(h, request(r.method, path, body)).Code
			if may := slices.Contains(access.RolesFor(r.action), role); may == (got == 403) {
				t.Errorf("%s %s as %s: %d", r.method, r.path, role, got)
			}
			h = New(Options{Control: c, Access: as{role, nil}})
			if got := send(h, request(r.method, path, body)).Code; got != 403 {
				t.Errorf("%s %s as %s of nothing: %d", r.method, r.path, role, got)
			}
		}
	}
}

func TestAScopeIsAllThatIsSeen(t *testing.T) {
	one := access.Principal{ID: "token:x", Grants: []access.Grant{{Roles: []access.Role{access.Viewer}, Scope: access.Scope{Models: []access.Pattern{"shop/*"}}}}}
	s := Status{
		Models:   []Model{{Model: "bank/fraud"}, {Model: "shop/rank"}},
		Policies: []Policy{{Policy: "bank/safe", Pinned: true}, {Policy: "shop/safe"}},
		Troubles: []Trouble{problem("bank/fraud", now, "secret"), problem("shop/rank", now, "known"), problem("store", now, "everybody's"),
			problem("route bank/web/score", now, "secret"), problem("route nonsense", now, "secret"), problem("route shop/web/score", now, "a rule of ours")},
		Proxies: Proxies{Proxies: []Proxy{{Node: "edge", Message: "route bank/web: no"}}},
	}
	h := History{
		Records:  []release.Record{{Model: "bank/fraud"}, {Model: "shop/rank"}},
		Policies: []PolicyRecord{{Policy: "bank/safe"}, {Policy: "shop/safe"}},
		Proxies:  []ProxyRecord{{Node: "edge"}},
	}
	text, err := json.Marshal([]any{s.within(one).judged(), h.within(one).filled()})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "bank/") || strings.Contains(string(text), "secret") {
		t.Errorf("it shows others' models: %s", text)
	}
	for _, want := range []string{"shop/rank", "shop/safe", "known", "everybody's", "a rule of ours", "edge"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("without %s: %s", want, text)
		}
	}
	if s.Models[0].Model != "bank/fraud" || s.Proxies.Proxies[0].Message == "" || h.Records[0].Model != "bank/fraud" {
		t.Error("what others see was changed")
	}
	c := &fakeControl{}
	served := New(Options{Control: c, Access: as{access.Viewer, []access.Pattern{"shop/*"}}})
	wants(t, send(served, request("GET", "/v1/history?model=bank/fraud", "")), 403, "not for model bank/fraud")
	wants(t, send(served, request("GET", "/v1/models/bank/fraud", "")), 403)
	wants(t, send(served, request("GET", "/v1/history?model=nonsense", "")), 400)
}
