package control

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store/storetest"
)

// A kill of a replica that never comes back is brought to the trail of the one that
// leads, and one that is in a trail is not brought to a second.
func TestTheKillsOfAReplicaThatIsGoneComeToATrail(t *testing.T) {
	m := storetest.NewMemory(5 * time.Second)
	open := func(name string) *killBook {
		t.Helper()
		copied, err := openCopy("", killFile)
		if err != nil {
			t.Fatal(err)
		}
		b, err := openKillBook(m.Open(), copied, name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	now := time.Now().UTC()
	gone := open("gone")
	for _, id := range []string{"told", "untold"} {
		from := gone.get(theModel)
		next := kill.Kill(from.state, kill.Order{ID: id, At: now, By: "on-call", Replica: "gone", Reason: "wrong answers"})
		if err := gone.put(t.Context(), from, next); err != nil {
			t.Fatal(err)
		}
	}
	gone.told(gone.untold(now, false)[0])
	if err := gone.settle(t.Context(), now.Add(tellStore+time.Second)); err != nil {
		t.Fatal(err)
	}

	other := open("other")
	if err := other.reread(t.Context(), theModel); err != nil {
		t.Fatal(err)
	}
	late := now.Add(othersTell + time.Second)
	for _, c := range []struct {
		when  string
		at    time.Time
		leads bool
		want  int
	}{
		{"while its replica may do it", now, true, 0},
		{"where another leads", late, false, 0},
		{"later", late, true, 1},
	} {
		if got := other.untold(c.at, c.leads); len(got) != c.want || c.want == 1 && got[0].ID != "untold" {
			t.Errorf("%s: %+v, want %d", c.when, got, c.want)
		}
	}
	if set := other.set(); other.settle(t.Context(), late) != nil || other.set() != set {
		t.Error("what is in a trail is no change of what is in force")
	}
}
