package control

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/policies"
	"github.com/safestate/safestate/internal/store"
)

// Who takes a proxy out of what proofs need is on record before it counts; a name that
// nobody knows is a mistake, and the silent ones are named.
func TestAProxyIsTakenOutOnRecord(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.control.o.XDS.Expect("edge-1", time.Now())
	b.control.o.XDS.Expect("edge-2", time.Now())
	if !eventually(b.control.register.known) {
		t.Fatal("the list of proxies is not read")
	}
	h := admin.New(admin.Options{Control: b.api()})
	var p admin.Problem
	ask(t, h, http.MethodPost, "/v1/proxies/edge-l/deregister", `{"reason":"a typo"}`, http.StatusNotFound, &p)
	if !strings.Contains(p.Hint, "edge-1, edge-2") {
		t.Errorf("%+v", p)
	}
	var done admin.Done
	for range 2 { // the second time changes nothing
		ask(t, h, http.MethodPost, "/v1/proxies/edge-1/deregister", `{"reason":"scrapped"}`, http.StatusOK, &done)
	}
	e, err := b.store.Get(t.Context(), proxiesKey)
	if err != nil || !strings.Contains(string(e.Value), "scrapped") {
		t.Errorf("the store has %s, %v", e.Value, err)
	}
	var got admin.History
	ask(t, h, http.MethodGet, "/v1/history", "", http.StatusOK, &got)
	if len(got.Proxies) != 1 || got.Proxies[0].Node != "edge-1" || got.Proxies[0].By != "local" || got.Proxies[0].Reason != "scrapped" || got.Proxies[0].Kind != "deregistered" {
		t.Errorf("%+v", got.Proxies)
	}
	ask(t, h, http.MethodGet, "/v1/history?model=default/fraud", "", http.StatusOK, &got)
	if len(got.Proxies) != 0 {
		t.Errorf("a model's history has %+v", got.Proxies)
	}
	var s admin.Status
	ask(t, h, http.MethodGet, "/v1/status", "", http.StatusOK, &s)
	if s.Proxies.Expected != 1 {
		t.Errorf("%+v", s.Proxies)
	}
}

// A proxy that is connected to another replica is not gone.
func TestAProxyOfAnotherReplicaIsNotTakenOut(t *testing.T) {
	b := start(t, t.TempDir())
	text, err := json.Marshal(statement{Replica: "two", Connected: []string{"edge-9"}})
	if err != nil {
		t.Fatal(err)
	}
	b.control.proofs.hear([]store.Event{{Entry: store.Entry{Key: replicaKey("two"), Value: text}}})
	var p admin.Problem
	ask(t, admin.New(admin.Options{Control: b.api()}), http.MethodPost, "/v1/proxies/edge-9/deregister", `{"reason":"x"}`, http.StatusConflict, &p)
	if !strings.Contains(p.Message, "replica two") {
		t.Errorf("%+v", p)
	}
}

func TestRecordsOfProxiesAreBounded(t *testing.T) {
	b := start(t, t.TempDir())
	r := b.control.register
	for i := range keptProxyRecords + 3 {
		d := admin.ProxyRecord{Node: strings.Repeat("x", i+1), At: time.Now(), By: "ann"}
		if err := r.deregister(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.history(1000); len(got) != keptProxyRecords || len(got[0].Node) != keptProxyRecords+3 {
		t.Errorf("%d, the newest of %+v", len(got), got[0])
	}
	if got := r.history(2); len(got) != 2 {
		t.Errorf("%d", len(got))
	}
}

// Two people who take a policy back at the same time go back once, and what each change
// was is told.
func TestAPolicyGoesBackOnce(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	if !eventually(func() bool { return len(b.control.policyList()) == 1 }) {
		t.Fatal("the policy is not recorded")
	}
	b.configure(models.world(t, one, 2, 100, b.control.Edit))
	if !eventually(func() bool { return b.control.policies.get(fraud).state.Current == 2 }) {
		t.Fatal("the change is not recorded")
	}
	h := admin.New(admin.Options{Control: b.api()})
	var p admin.Problem
	var x admin.Policy
	ask(t, h, http.MethodPost, "/v1/policies/default/fraud/rollback", `{"reason":"x","expectNumber":1}`, http.StatusConflict, &p)
	if !strings.Contains(p.Message, "at number 2 and not at 1") {
		t.Errorf("%+v", p)
	}
	ask(t, h, http.MethodPost, "/v1/policies/default/fraud/rollback", `{"reason":"x","expectNumber":2}`, http.StatusOK, &x)
	ask(t, h, http.MethodPost, "/v1/policies/default/fraud/rollback", `{"reason":"x"}`, http.StatusConflict, &p)
	ask(t, h, http.MethodPost, "/v1/policies/default/fraud/unpin", `{"reason":"agreed"}`, http.StatusOK, &x)
	var got admin.History
	ask(t, h, http.MethodGet, "/v1/history?policy=default/fraud", "", http.StatusOK, &got)
	var kinds []string
	for _, r := range got.Policies {
		kinds = append(kinds, r.Kind)
	}
	if text := strings.Join(kinds, " "); text != "unpinned rollback changed changed" {
		t.Errorf("%s", text)
	}
}

// Half a percent is not none.
func TestAPartOfAPercentIsShown(t *testing.T) {
	b := start(t, t.TempDir())
	s, _, err := policies.Observe(policies.State{}, json.RawMessage(`{"mode":"Enforce","enforcePercent":0.5}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.control.policies.mu.Lock()
	b.control.policies.pages[fraud] = policyPage{state: s}
	b.control.policies.mu.Unlock()
	if p, h := b.control.policyOf(fraud, s), b.control.policyHistory(fraud); p.EnforcePercent != 0.5 || h[0].EnforcePercent != 0.5 {
		t.Errorf("%+v, %+v", p, h)
	}
}
