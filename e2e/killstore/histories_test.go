package killstore

import (
	"fmt"
	"strings"
	"testing"
)

// TestHistories runs episodes until there were enough operations. No kill that was
// acknowledged is lost, revives and kills in the store happen one after the other,
// and generations only grow.
func TestHistories(t *testing.T) {
	path := program(t)
	done := 0
	for seed := *firstSeed; done < *operations && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			e := newEpisode(t, path, seed)
			for _, problem := range e.run() {
				t.Error(problem)
			}
			done += e.sent()
			t.Logf("%d operations in %s: %s", e.sent(), e.now().Round(1e8), e.summary())
			if t.Failed() {
				t.Log("what broke:\n" + strings.Join(e.told, "\n"))
			}
		})
	}
	t.Logf("figure kill_history_operations %d", done)
}
