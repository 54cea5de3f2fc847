package control

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// status asks for the status, and returns what it says about something.
func (b *bench) status(about string) (admin.Status, []string) {
	b.t.Helper()
	var s admin.Status
	ask(b.t, admin.New(admin.Options{Control: b.api()}), http.MethodGet, "/v1/status", "", http.StatusOK, &s)
	var what []string
	for _, x := range s.Troubles {
		if x.About == about && x.Level == admin.LevelProblem {
			what = append(what, x.What)
		}
	}
	return s, what
}

// A store that answers every question and takes no writes is a problem, until it takes
// one.
func TestWritesThatFailAreToldOf(t *testing.T) {
	s := &refusing{Store: storetest.NewMemory(time.Minute).Open()}
	b := startOn(t, t.TempDir(), "one", s)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	if got, what := b.status("store"); len(what) != 0 || !got.Store.Well {
		t.Fatalf("%+v", got.Troubles)
	}
	s.full.Store(true)
	if _, err := b.control.Do(t.Context(), fraud, release.Command{Do: release.Start, Version: "v2", By: "ann", Reason: "x"}); err == nil {
		t.Fatal("a release was written")
	}
	got, what := b.status("store")
	if len(what) != 1 || !strings.Contains(what[0], "takes no writes") || got.Well || got.Store.Well || got.Store.Since.IsZero() {
		t.Errorf("%+v, %+v", got.Store, got.Troubles)
	}
	s.full.Store(false)
	b.do(release.Command{Do: release.Start, Version: "v2"})
	if got, what := b.status("store"); len(what) != 0 || !got.Store.Well {
		t.Errorf("%+v", got.Troubles)
	}
}

// What is decided and written is done, also where it cannot be published: the same
// request again does not do it again.
func TestWhatCannotBePublishedIsDoneAllTheSame(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	b.until("the promotion is proven", func(s release.State) bool { return s.Acked.Generation == s.Generation })
	good := b.control.snapshot()
	broken := *good
	broken.Routes = nil // its listeners name them
	swap := func(s *compile.Snapshot) {
		b.control.mu.Lock()
		defer b.control.mu.Unlock()
		b.control.files = s
	}
	swap(&broken)
	h := admin.New(admin.Options{Control: b.api()})
	var m admin.Model
	ask(t, h, http.MethodPost, "/v1/models/default/fraud/rollback", `{"reason":"x"}`, http.StatusOK, &m)
	if m.Unpublished == "" || m.Withdrawal == nil {
		t.Errorf("%+v", m)
	}
	if _, what := b.status("releases"); len(what) != 1 || !strings.Contains(what[0], "cannot be published") {
		t.Errorf("%q", what)
	}
	swap(good)
	if !eventually(func() bool { _, what := b.status("releases"); return len(what) == 0 }) {
		t.Error("it is published and status does not say so")
	}
}

// Every reason for which a model waits for a person is a series of its own.
func TestWhoIsCalled(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	if got := b.scraped("safestate_release_stuck"); len(got) != 0 {
		t.Fatalf("%q", got)
	}
	b.stop()
	no := false
	p := b.control.book.pages[fraud]
	p.state.Bound, p.state.Incident = &release.Bound{Version: "v1"}, &release.Incident{Version: "v1"}
	p.state.Rollout = &release.Rollout{Version: "v2", Steps: []release.Step{{}}, Paused: &release.Paused{By: release.By}}
	p.state.Withdrawal = &release.Withdrawal{Kind: release.KindRollback, Decided: time.Now(), Helped: &no}
	b.control.book.pages[fraud] = p
	var why []string
	for _, line := range b.scraped("safestate_release_stuck") {
		_, rest, _ := strings.Cut(line, `why="`)
		w, _, _ := strings.Cut(rest, `"`)
		why = append(why, w)
		if !strings.HasSuffix(line, " 1") {
			t.Error(line)
		}
	}
	slices.Sort(why)
	if want := []string{"bound", "common-cause", "not-helped", "paused"}; !slices.Equal(why, want) {
		t.Errorf("%q, want %q", why, want)
	}
}

// What the other replicas say of their proxies is in the status of each.
func TestStatusHasTheProxiesOfAllReplicas(t *testing.T) {
	said := func(s statement) admin.Proxies {
		p := proofsOn(t)
		p.xds.Expect("here", time.Now())
		p.xds.Expect("moved", time.Now())
		publishedTo(t, p, "a", map[string]release.State{fraud: weighted(1, 100)})
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		p.hear([]store.Event{{Entry: store.Entry{Key: replicaKey("two"), Value: text}}})
		return p.everyProxy(func(string) time.Time { return time.Unix(1, 0) })
	}
	got := said(statement{
		Connected: []string{"fine", "refuses", "late", "moved"},
		Models:    map[string]spoken{fraud: {1, 0}, "default/other": {1, 1}},
		Parts: []part{{Expected: 6, Acked: 6}, {Expected: 6, Acked: 2, Missing: []absence{
			{Node: "refuses", Reason: xds.Refused, Message: "no"}, {Node: "late", Reason: xds.Held}, {Node: "gone", Reason: xds.Silent}, {Node: "here", Reason: xds.Silent},
		}}},
	})
	states := map[string]admin.ProxyState{}
	for _, x := range got.Proxies {
		if _, twice := states[x.Node]; twice {
			t.Errorf("%s is there twice", x.Node)
		}
		states[x.Node] = x.State
		if (x.Replica == "two") != slices.Contains([]string{"fine", "refuses", "late", "moved", "gone"}, x.Node) {
			t.Errorf("%+v", x)
		}
	}
	want := map[string]admin.ProxyState{
		"here": admin.ProxySilent, "moved": admin.ProxyAcked, "fine": admin.ProxyAcked,
		"refuses": admin.ProxyRefused, "late": admin.ProxyBehind, "gone": admin.ProxySilent,
	}
	for node, state := range want {
		if states[node] != state {
			t.Errorf("%s is %s, want %s", node, states[node], state)
		}
	}
	if len(states) != len(want) || got.Expected != 6 || got.Acked != 2 || len(got.Silent) != 2 || len(got.Refused) != 1 {
		t.Errorf("%+v", got)
	}
	if got := said(statement{Connected: []string{"new"}}); got.Expected != 3 || got.Acked != 0 {
		t.Errorf("a replica that has only begun: %+v", got)
	}
}
