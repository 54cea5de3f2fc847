package kill

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// No record is dropped before it is in a trail, however many there are.
func TestNoUntoldRecordIsDropped(t *testing.T) {
	s := New(fraud)
	for i := range 500 {
		o := order(fmt.Sprint(i), Degrade)
		o.At = noon.Add(time.Duration(i) * time.Second)
		s = Kill(s, o)
	}
	counted := 0
	for _, r := range s.Outbox {
		counted += max(r.Count, 1)
	}
	if first := s.Outbox[0]; len(s.Outbox) != mostOutbox || counted != 500 || first.Kind != KindCounted || !strings.HasPrefix(first.Reason, "437 changes up to generation 437") {
		t.Errorf("%d records tell of %d changes, the first is %+v", len(s.Outbox), counted, first)
	}
	// Those that are in a trail give way, and the others stay as they are.
	s = s.Ack(func(r Record) bool { return r.Sequence%2 == 0 })
	for i := range 20 {
		s = Kill(s, order(fmt.Sprint("more", i), Degrade))
	}
	counted, trailed := 0, 0
	for _, r := range s.Outbox {
		if r.Trailed {
			trailed++
		} else if r.Count == 0 {
			counted++
		}
	}
	if trailed != mostTrailed || counted != 31+20 {
		t.Errorf("%d in a trail and %d not: %+v", trailed, counted, s.Outbox)
	}
}

// Who was away learns what is in a trail, and drops nothing that is not.
func TestReplicasLearnWhatIsInATrail(t *testing.T) {
	s := Kill(New(fraud), order("1", Degrade))
	told := s.Ack(func(Record) bool { return true })
	for _, merged := range []State{Reconcile(s, told, later), Reconcile(told, s, later)} {
		if len(merged.Outbox) != 1 || !merged.Outbox[0].Trailed {
			t.Errorf("%+v", merged.Outbox)
		}
	}
}
