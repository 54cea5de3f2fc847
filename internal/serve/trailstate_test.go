package serve

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
)

func TestWhatIsNotWellWithTheTrail(t *testing.T) {
	if got := trailTroubles(audit.Status{Writer: "a~1", Sequence: 9, Anchors: []audit.AnchorStatus{{Anchor: "the file x", Sequence: 9}}}); len(got) != 0 {
		t.Errorf("all is well: %+v", got)
	}
	got := trailTroubles(audit.Status{
		Writer: "a~1.2", Sequence: 9, Damage: "entry 3 is changed", WriteError: "the disk is full", StoreError: "away", Stored: 2,
		Anchors: []audit.AnchorStatus{{Anchor: "the webhook at x", Sequence: 4, Error: "status 500"}, {Anchor: "the file y", Sequence: 9}},
	})
	wants := []string{"the disk is full", "entry 3 is changed", "the webhook at x", "the store has 2 of its 9 entries"}
	if len(got) != len(wants) {
		t.Fatalf("%+v", got)
	}
	for i, want := range wants {
		if problem := i < 3; !strings.Contains(got[i].What, want) || (got[i].Level == admin.LevelProblem) != problem {
			t.Errorf("%+v, want %q", got[i], want)
		}
	}
}
