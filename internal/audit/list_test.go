package audit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/store/storetest"
)

// A list of what nothing matches ends: with who asked, or after so many entries.
func TestAListIsBounded(t *testing.T) {
	endless := func(yield func(Entry) bool) {
		for at := time.Now(); yield(Entry{Kind: KindRelease, At: at}); at = at.Add(-time.Second) {
		}
	}
	list, err := merge(t.Context(), Filter{Kinds: []Kind{KindKill}}, []tail{{entries: endless}})
	if err != nil || len(list.Entries) != 0 || !list.More || !strings.Contains(list.Missing, "what is older than") {
		t.Errorf("%v, %v", list, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := merge(ctx, Filter{}, []tail{{entries: endless}}); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it any more: %v", err)
	}
	l := written(t, "control-1", 3, Options{})
	l.listing <- struct{}{} // somebody's
	if _, err := l.List(ctx, Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a second list at a time: %v", err)
	}
}

// What somebody else wrote into the store is not told as the writer's.
func TestForgedEntriesAreNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		a, b := newReplica(t, m, "a", t.TempDir(), nil), newReplica(t, m, "b", t.TempDir(), nil)
		add(t, b.Log, "b", 1, 9)
		settle(time.Minute)
		writer := b.Status().Writer
		listed := func() List {
			t.Helper()
			list, err := a.List(t.Context(), Filter{Writer: writer})
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		whole := listed()
		if whole.Missing != "" || len(whole.Entries) < 10 {
			t.Fatalf("%d entries, and missing: %s", len(whole.Entries), whole.Missing)
		}
		s := m.Open()
		change := func(sequence uint64, by func(Entry) []byte) {
			t.Helper()
			e, err := s.Get(t.Context(), entryKey(writer, sequence))
			if err != nil {
				t.Fatal(err)
			}
			old, err := Parse(e.Value)
			if err != nil {
				t.Fatal(err)
			}
			if text := by(old); text == nil {
				err = s.Delete(t.Context(), e.Key, e.Revision)
			} else {
				_, err = s.Put(t.Context(), e.Key, text, e.Revision)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		change(5, func(e Entry) []byte {
			e.Actor.Name = "mallory"
			e = e.sealed(e.Writer, e.Sequence, e.At, e.Prev, a.key) // with a hash that is right
			return e.Line()
		})
		list := listed()
		if len(list.Entries) != len(whole.Entries)-1 || !strings.Contains(list.Missing, entryKey(writer, 5)) {
			t.Errorf("%d entries of %d, and missing: %s", len(list.Entries), len(whole.Entries), list.Missing)
		}
		for _, e := range list.Entries {
			if e.Actor.Name == "mallory" {
				t.Error("a forged entry is told as the writer's")
			}
		}
		change(5, func(Entry) []byte { return nil })
		if list := listed(); len(list.Entries) != len(whole.Entries)-1 || !strings.Contains(list.Missing, "entries 5 to 5 of "+writer) {
			t.Errorf("%d entries, and missing: %s", len(list.Entries), list.Missing)
		}
	})
}
