package access

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// allowed is the whole of what a role may do, written out once more: by action,
// the roles.
var allowed = map[Action]string{
	"read":       "viewer operator responder approver",
	"rollout":    "operator",
	"rollback":   "operator",
	"policy":     "operator",
	"deregister": "operator",
	"backup":     "operator",
	"rotate":     "operator",
	"kill":       "responder",
	"revive":     "approver",
	"approve":    "approver",
}

// done is what an action is done to.
var done = map[Action]string{
	"read":       "everything overview model route policy proxy",
	"rollout":    "model",
	"rollback":   "model",
	"policy":     "policy",
	"deregister": "proxy",
	"backup":     "everything",
	"rotate":     "everything",
	"kill":       "everything model route",
	"revive":     "everything model route",
	"approve":    "everything model route",
}

// scopes and the targets that lie in each.
var scopes = []struct {
	name  string
	scope Scope
	in    []Target
}{
	{"none", Scope{}, nil},
	{"everything", Scope{Models: []Pattern{"*"}}, targets},
	{"a namespace", Scope{Models: []Pattern{"shop/*"}}, []Target{Overview(), Model("shop/rank"), Model("shop/fraud"), OfPolicy("shop/safe")}},
	{"a model", Scope{Models: []Pattern{"shop/rank"}}, []Target{Overview(), Model("shop/rank")}},
	{"two models", Scope{Models: []Pattern{"bank/fraud", "shop/rank"}}, []Target{Overview(), Model("shop/rank"), Model("bank/fraud")}},
	{"all routes", Scope{Routes: []Pattern{"*"}}, []Target{Overview(), Route("shop/web"), Route("shop/web/0"), Route("shop/web/1"), Route("shop/webx"), Route("bank/web")}},
	{"routes of a namespace", Scope{Routes: []Pattern{"shop/*"}}, []Target{Overview(), Route("shop/web"), Route("shop/web/0"), Route("shop/web/1"), Route("shop/webx")}},
	{"a route", Scope{Routes: []Pattern{"shop/web"}}, []Target{Overview(), Route("shop/web"), Route("shop/web/0"), Route("shop/web/1")}},
	{"a rule", Scope{Routes: []Pattern{"shop/web/0"}}, []Target{Overview(), Route("shop/web/0")}},
	{"a model and a route", Scope{Models: []Pattern{"shop/rank"}, Routes: []Pattern{"bank/*"}}, []Target{Overview(), Model("shop/rank"), Route("bank/web")}},
}

var targets = []Target{
	Everything(), Overview(), Model("shop/rank"), Model("shop/fraud"), Model("shopping/rank"), Model("bank/fraud"),
	Route("shop/web"), Route("shop/web/0"), Route("shop/web/1"), Route("shop/webx"), Route("bank/web"),
	OfPolicy("shop/safe"), OfPolicy("shopping/safe"), Proxy("envoy-1"),
}

func TestAuthorizeEveryRoleActionAndScope(t *testing.T) {
	if len(allowed) != len(Actions()) || len(rules) != len(Actions()) {
		t.Fatalf("%d actions, %d in the table, %d rules", len(Actions()), len(allowed), len(rules))
	}
	cells := 0
	for _, role := range Roles() {
		for _, s := range scopes {
			p := Principal{ID: "token:x", Name: "token:x", Grants: []Grant{{[]Role{role}, s.scope}}}
			for _, action := range Actions() {
				for _, target := range targets {
					cells++
					want := slices.Contains(strings.Fields(allowed[action]), string(role)) &&
						slices.Contains(strings.Fields(done[action]), string(target.Kind)) &&
						slices.Contains(s.in, target)
					err := Authorize(p, action, target)
					if (err == nil) != want {
						t.Errorf("%s for %s: %s of %s: %v, want allowed %v", role, s.name, action, target, err, want)
					}
					var r *Refusal
					if err != nil && (!errors.As(err, &r) || r.Class != Forbidden) {
						t.Errorf("%s of %s: %#v is not forbidden", action, target, err)
					}
				}
			}
		}
	}
	if cells < 5000 {
		t.Errorf("only %d cells", cells)
	}
}

// A role of one grant does not reach into the scope of another.
func TestGrantsDoNotMix(t *testing.T) {
	p := Principal{ID: "token:x", Name: "token:x", Grants: []Grant{
		{[]Role{Responder}, Scope{Models: []Pattern{"shop/*"}}},
		{[]Role{Operator}, Scope{Models: []Pattern{"*"}}},
	}}
	for _, c := range []struct {
		action Action
		target Target
		fine   bool
	}{
		{Kill, Model("shop/rank"), true},
		{Kill, Model("bank/fraud"), false},
		{Kill, Everything(), false},
		{Rollback, Model("bank/fraud"), true},
		{Backup, Everything(), true},
		{Revive, Model("shop/rank"), false},
	} {
		if err := Authorize(p, c.action, c.target); (err == nil) != c.fine {
			t.Errorf("%s of %s: %v", c.action, c.target, err)
		}
	}
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	all := Principal{ID: "local", Name: "local", Grants: []Grant{{Roles(), Scope{Models: []Pattern{"*"}, Routes: []Pattern{"*"}}}}}
	for _, c := range []struct {
		p      Principal
		action Action
		target Target
	}{
		{all, "", Everything()},
		{all, "admin", Everything()},
		{all, "KILL", Everything()},
		{all, "kill ", Everything()},
		{all, Kill, Target{}},
		{all, Kill, Target{Kind: "all"}},
		{all, Kill, Target{Kind: KindEverything, Name: "shop/rank"}},
		{all, Kill, Model("")},
		{all, Kill, Model("*")},
		{all, Kill, Model("shop/*")},
		{all, Kill, Model("shop")},
		{all, Kill, Model("shop/")},
		{all, Kill, Model("/rank")},
		{all, Kill, Model("shop/rank/v1")},
		{all, Kill, Route("shop")},
		{all, Kill, Route("shop/web/0/1")},
		{all, Kill, Overview()},
		{all, Kill, Proxy("envoy")},
		{all, Kill, OfPolicy("shop/safe")},
		{all, Deregister, Proxy("")},
		{all, Backup, Model("shop/rank")},
		{Principal{}, Read, Overview()},
		{Principal{Grants: all.Grants}, Read, Overview()},
		{Principal{ID: "token:x"}, Read, Overview()},
		{Principal{ID: "token:x", Grants: []Grant{{[]Role{"root", "*"}, all.Grants[0].Scope}}}, Read, Overview()},
	} {
		if Authorize(c.p, c.action, c.target) == nil {
			t.Errorf("%+v may %q of %+v", c.p, c.action, c.target)
		}
	}
}

func TestARefusalSaysWhatIsMissing(t *testing.T) {
	p := Principal{ID: "token:x", Name: "token:x", Grants: []Grant{{[]Role{Responder}, Scope{Models: []Pattern{"shop/*"}}}}}
	for want, err := range map[string]error{
		"token:x has no role operator, which rollback needs; ask whoever keeps the access file":           Authorize(p, Rollback, Model("shop/rank")),
		"token:x has the role responder, but not for everything; ask whoever keeps the access file":       Authorize(p, Kill, Everything()),
		"token:x has the role responder, but not for model bank/fraud; ask whoever keeps the access file": Authorize(p, Kill, Model("bank/fraud")),
		`there is no action "be?root"; `: Authorize(p, "be\x1broot", Everything()),
	} {
		if err == nil || !strings.HasPrefix(err.Error()+"; ", want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
