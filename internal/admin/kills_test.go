package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/kill"
)

func (f *fakeControl) Kill(_ context.Context, t kill.Target, o kill.Order) (Killed, error) {
	f.note("kill %s %s by %s: %s", t.Key(), o.Mode, o.By, o.Reason)
	if t.Name == "default/none" {
		return Killed{}, NotFound("there is no such target")
	}
	o.At = now
	return Killed{State: KillStateOf(kill.Kill(kill.New(t), o), now), Durability: "store"}, f.err
}

func (f *fakeControl) killed(t kill.Target) kill.State {
	return kill.Kill(kill.New(t), kill.Order{ID: "1", At: now, By: "anna", Reason: "wrong", Mode: kill.Degrade})
}

func (f *fakeControl) Revive(_ context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	f.note("revive %s at %d over %s by %s, second %v: %s", t.Key(), r.Generation, r.Ramp, r.By, r.Second, r.Reason)
	if f.err != nil {
		return f.killed(t), f.err
	}
	r.At = now
	return kill.Revive(f.killed(t), r)
}

func (f *fakeControl) Approve(_ context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	f.note("approve %s at %d, ask %d, by %s: %s", t.Key(), r.Generation, r.Ask, r.By, r.Reason)
	s := f.killed(t)
	if r.Reason == "x" {
		s, _ = kill.Revive(s, kill.Request{At: now, By: "bert", Reason: "mended", Generation: 1, Second: true})
	}
	r.At = now
	return kill.Approve(s, r)
}

func (f *fakeControl) Kills() []kill.State {
	return []kill.State{f.killed(kill.ForModel("default/fraud"))}
}

func (f *fakeControl) KillProof(t kill.Target) KillProof {
	return KillProof{
		State: KillStateOf(f.killed(t), now), Set: "abc", At: now, Expected: 2, Proven: 1,
		Rows: []KillRow{{Node: "a", Kind: "proxy", State: StepProven, How: "probe"}, {Node: "z", Kind: "proxy", State: StepSilent, How: "silent"}},
	}
}

func TestKillRequests(t *testing.T) {
	for _, c := range []struct {
		path, body string
		status     int
		asked      string // of the control plane; empty: nothing
		says       string
	}{
		{"/v1/kill", `{"target":"model/default/fraud","reason":"wrong"}`, 200, "kill model/default/fraud degrade by local: wrong", `"killed":true`},
		{"/v1/kill", `{"target":"all","mode":"blackhole","reason":"wrong"}`, 200, "kill all blackhole by local: wrong", `"durability":"store"`},
		{"/v1/kill", `{"target":"version/default/fraud/v2","mode":"default","reason":"wrong"}`, 200, "kill version/default/fraud/v2 default by local: wrong", ""},
		{"/v1/kill", `{"target":"route/default/fraud/rule-0","reason":"wrong"}`, 200, "kill route/default/fraud/rule-0 degrade by local: wrong", ""},
		{"/v1/kill", `{"target":"model/default/none","reason":"wrong"}`, 404, "kill model/default/none degrade by local: wrong", "no such target"},
		{"/v1/kill", `{"reason":"wrong"}`, 400, "", `"field":"target"`},
		{"/v1/kill", `{"target":"model/fraud","reason":"wrong"}`, 400, "", "NAMESPACE/MODEL"},
		{"/v1/kill", `{"target":"model/*/fraud","reason":"wrong"}`, 400, "", `"field":"target"`},
		{"/v1/kill", `{"target":"all","mode":"gentle","reason":"wrong"}`, 400, "", `"field":"mode"`},
		{"/v1/kill", `{"target":"all"}`, 400, "", `"field":"reason"`},
		{"/v1/kill", `{"target":"all","reason":"wrong","force":true}`, 400, "", "force"},
		{"/v1/revive", `{"target":"all","generation":1,"reason":"mended","ramp":"10m"}`, 200, "revive all at 1 over 10m0s by local, second false: mended", `"killed":false`},
		{"/v1/revive", `{"target":"all","generation":7,"reason":"mended"}`, 409, "revive all at 7 over 0s by local, second false: mended", `"generation":1`},
		{"/v1/revive", `{"target":"all","reason":"mended"}`, 400, "", `"field":"generation"`},
		{"/v1/revive", `{"target":"all","generation":1}`, 400, "", `"field":"reason"`},
		{"/v1/revive", `{"target":"all","generation":1,"reason":"mended","ramp":"48h"}`, 400, "", `"field":"ramp"`},
		{"/v1/approve", `{"target":"all","generation":1,"ask":2,"reason":"seen"}`, 409, "approve all at 1, ask 2, by local: seen", "nobody has asked"},
		{"/v1/approve", `{"target":"all","generation":1,"ask":3,"reason":"x"}`, 409, "approve all at 1, ask 3, by local: x", "number 2 and not 3"},
		{"/v1/approve", `{"target":"all","generation":1,"reason":"seen"}`, 400, "", `"field":"ask"`},
	} {
		f := &fakeControl{}
		w := send(serve(f), request(http.MethodPost, c.path, c.body))
		if w.Code != c.status || !strings.Contains(strings.ReplaceAll(w.Body.String(), " ", ""), strings.ReplaceAll(c.says, " ", "")) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.path, c.body, w.Code, w.Body, c.status, c.says)
		}
		if got := strings.Join(f.calls(), ", "); got != c.asked {
			t.Errorf("%s %s: asked %q, want %q", c.path, c.body, got, c.asked)
		}
	}
}

// A kill that is in force is no failure, whatever is missing of a whole one.
func TestAKillWithAWarning(t *testing.T) {
	f := &fakeControl{err: errors.New("the disk is full")}
	w := send(serve(f), request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"wrong"}`))
	var got Killed
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || !got.State.Killed || got.Warning != "the disk is full" {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
}

// long is somebody with a name that leaves no room.
type long struct{ access.Loopback }

func (long) Authenticate(r *http.Request) (access.Principal, error) {
	p, err := access.Loopback{}.Authenticate(r)
	p.Name = "cert:" + strings.Repeat("é", 1000)
	return p, err
}

func TestALongNameKillsToo(t *testing.T) {
	control := newWilling()
	h := New(Options{Control: control, Access: long{}})
	wants(t, send(h, request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"wrong"}`)), 200)
	wants(t, send(h, request(http.MethodPost, "/v1/revive", `{"target":"all","generation":1,"reason":"mended"}`)), 200)
	wants(t, send(h, request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"`+strings.Repeat("é", 600)+`"}`)), 400, "longer than 1024 bytes")
}

// reviving keeps the state of what it kills, as the control plane does.
type reviving struct {
	fakeControl
	state kill.State
}

func (r *reviving) Kill(_ context.Context, t kill.Target, o kill.Order) (Killed, error) {
	if r.state.Target != t {
		r.state = kill.New(t)
	}
	r.state = kill.Kill(r.state, o)
	return Killed{State: KillStateOf(r.state, o.At)}, nil
}

func (r *reviving) Revive(_ context.Context, _ kill.Target, q kill.Request) (s kill.State, err error) {
	r.state, err = kill.Revive(r.state, q)
	return r.state, err
}

// Who kills again after a revive has it killed, or is told that it is not.
func TestAKillAfterARevive(t *testing.T) {
	clock := &changeable{t: now}
	for _, c := range []struct {
		first, second string // keys
		status        int
		later         time.Duration
	}{{"", "", 200, 0}, {"k1", "k2", 200, 0}, {"k1", "", 200, 0}, {"k1", "k1", 409, 0}, {"k1", "k1", 409, rememberFor}} {
		control := &reviving{}
		h := New(Options{Control: control, Now: clock.now})
		kill := func(key string) int {
			r := request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"wrong"}`)
			r.Header.Set(idempotencyHeader, key)
			return send(h, r).Code
		}
		if got := kill(c.first); got != 200 {
			t.Fatalf("killed: %d", got)
		}
		wants(t, send(h, request(http.MethodPost, "/v1/revive", `{"target":"all","generation":1,"reason":"mended"}`)), 200)
		clock.move(c.later)
		if got := kill(c.second); got != c.status || control.state.Killed != (got == 200) {
			t.Errorf("%q after %q: %d, killed is %v; want %d", c.second, c.first, got, control.state.Killed, c.status)
		}
	}
}

func TestProofsNameWhatIsMissingFirst(t *testing.T) {
	w := send(serve(&fakeControl{}), request(http.MethodGet, "/v1/kills/proof?target=model/default/fraud", ""))
	var got KillProof
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Complete || len(got.Rows) != 2 || got.Rows[0].Node != "z" {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if w := send(serve(&fakeControl{}), request(http.MethodGet, "/v1/kills/proof", "")); w.Code != 400 {
		t.Errorf("without a target: %d %s", w.Code, w.Body)
	}
	w = send(serve(&fakeControl{}), request(http.MethodGet, "/v1/kills", ""))
	var list KillList
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Generation != 1 || len(list.Kills) != 1 || list.Kills[0].Target != "model/default/fraud" {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
}

// narrow may kill one model, and asks for a second person.
type narrow struct{ roles []access.Role }

func (n narrow) Authenticate(*http.Request) (access.Principal, error) {
	return access.Principal{ID: "token:anna", Name: "anna", Person: "anna", How: "token", Grants: []access.Grant{
		{Roles: n.roles, Scope: access.Scope{Models: []access.Pattern{"default/fraud"}}},
	}}, nil
}

func (narrow) Approvals(access.Target) int { return 1 }

func TestWhoMayKill(t *testing.T) {
	for _, c := range []struct {
		role       access.Role
		path, body string
		status     int
	}{
		{access.Responder, "/v1/kill", `{"target":"model/default/fraud","reason":"wrong"}`, 200},
		{access.Responder, "/v1/kill", `{"target":"version/default/fraud/v1","reason":"wrong"}`, 200},
		{access.Responder, "/v1/kill", `{"target":"model/default/other","reason":"wrong"}`, 403},
		{access.Responder, "/v1/kill", `{"target":"all","reason":"wrong"}`, 403},
		{access.Responder, "/v1/kill", `{"target":"route/default/fraud/rule-0","reason":"wrong"}`, 403},
		{access.Responder, "/v1/revive", `{"target":"model/default/fraud","generation":1,"reason":"mended"}`, 403},
		{access.Operator, "/v1/kill", `{"target":"model/default/fraud","reason":"wrong"}`, 403},
		{access.Operator, "/v1/kill", `{"target":"nonsense"}`, 403}, // before anything is read
		{access.Approver, "/v1/kill", `{"target":"model/default/fraud","reason":"wrong"}`, 403},
		{access.Approver, "/v1/revive", `{"target":"model/default/fraud","generation":1,"reason":"mended"}`, 200},
		{access.Approver, "/v1/revive", `{"target":"model/default/other","generation":1,"reason":"mended"}`, 403},
	} {
		f := &fakeControl{}
		h := New(Options{Control: f, Access: narrow{[]access.Role{c.role}}, Now: func() time.Time { return now }})
		w := send(h, request(http.MethodPost, c.path, c.body))
		if w.Code != c.status {
			t.Errorf("%s: %s %s: %d %s, want %d", c.role, c.path, c.body, w.Code, w.Body, c.status)
		}
		if c.status == 403 && len(f.calls()) > 0 {
			t.Errorf("%s: %s %s reached the control plane", c.role, c.path, c.body)
		}
		if c.path == "/v1/revive" && c.status == 200 && !strings.Contains(w.Body.String(), `"asked"`) {
			t.Errorf("revived without a second person: %s", w.Body)
		}
	}
}

func (nobody) Approvals(access.Target) int { return 0 }

func (viewer) Approvals(access.Target) int { return 0 }

func (as) Approvals(access.Target) int { return 0 }
