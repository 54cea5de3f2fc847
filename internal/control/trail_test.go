package control

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/storetest"
)

// of are the entries of a kind: TARGET OUTCOME by NAME HOW ADDRESS.
func (l *trail) of(kind audit.Kind) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.entries {
		if e := &l.entries[i]; e.Kind == kind {
			out = append(out, fmt.Sprintf("%s %s by %s %s %s", e.Target, e.Outcome, e.Actor.Name, e.Actor.How, e.Actor.Address))
		}
	}
	return out
}

// A record that the trail did not take comes again, and those after it too.
func TestARecordComesToTheTrailLater(t *testing.T) {
	b, l := alone(t, storetest.NewMemory(time.Minute).Open()), &trail{}
	b.control.o.Trail, b.control.o.Store = l, storetest.NewMemory(time.Minute).Open()
	l.breaks(errors.New("the disk is full"))
	s := release.New(fraud)
	for i := range uint64(3) {
		s.Sequence = i + 1
		s.Outbox = append(s.Outbox, release.Record{Sequence: i + 1, Model: fraud, Kind: release.KindStep, By: release.By, At: time.Now()})
	}
	b.control.book.mu.Lock()
	b.control.book.pages[fraud] = page{state: s}
	b.control.book.mu.Unlock()
	told := map[uint64]int{}
	b.control.o.Recorded = func(r release.Record) { told[r.Sequence]++ }
	for range 5 {
		if err := b.control.record(t.Context()); err == nil {
			t.Error("the trail takes nothing, and nobody hears of it")
		}
	}
	if len(told) != 3 || told[3] != 1 {
		t.Errorf("a full disk keeps people from being told: %v", told)
	}
	if n := b.control.book.written(fraud); n != 0 {
		t.Errorf("record %d counts as written", n)
	}
	l.breaks(nil)
	if err := b.control.record(t.Context()); err != nil || len(l.of(audit.KindDecision)) != 3 || b.control.book.written(fraud) != 3 {
		t.Errorf("%v, the trail has %q", err, l.of(audit.KindDecision))
	}
}

// What is no state's to repair is noted before it is done, and by whom.
func TestPeoplesChangesAreNotedBeforeTheyAreDone(t *testing.T) {
	l, models := &trail{}, newModels(t)
	b, _ := replica(t, storetest.NewMemory(5*time.Second), t.TempDir(), "one", l)
	b.control.o.XDS.Expect("edge-1", time.Now())
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	if !eventually(func() bool { return len(b.control.policyList()) == 1 && b.control.register.known() }) {
		t.Fatal("the policy is not recorded")
	}
	b.configure(models.world(t, one, 2, 100, b.control.Edit))
	if !eventually(func() bool { return b.control.policies.get(fraud).state.Current == 2 }) {
		t.Fatal("the change is not recorded")
	}
	h := admin.New(admin.Options{Control: b.api()})
	var x admin.Policy
	var done admin.Done
	ask(t, h, http.MethodPost, "/v1/policies/default/fraud/rollback", `{"reason":"x"}`, http.StatusOK, &x)
	ask(t, h, http.MethodPost, "/v1/proxies/edge-1/deregister", `{"reason":"scrapped"}`, http.StatusOK, &done)
	for kind, target := range map[audit.Kind]string{audit.KindPolicy: "policy/default/fraud", audit.KindDeregistration: "proxy/edge-1"} {
		got := l.of(kind)
		if want := fmt.Sprintf("[%s begun by local local 127.0.0.1 %s  by local local 127.0.0.1]", target, target); fmt.Sprint(got) != want {
			t.Errorf("the trail has %q, want %s", got, want)
		}
	}
}
