package releases

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
)

// TestPolicyRollback changes a policy in its file, takes it back by a command,
// and lets it follow the file again: answers show each.
func TestPolicyRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1")
	s := newStand(t, w)
	w.version("v1").Set(fm.C01NaNBare, 0)
	first, second, third := `"data": [0.5]`, `"data": [0.25]`, `"data": [0.75]`
	answered := func(what, want string) {
		t.Helper()
		var a dataplane.Answer
		defer func() {
			if t.Failed() {
				t.Logf("%s: status %d, source %q, reason %q, %s", what, a.Status, a.Source(), a.Reason(), a.Body)
			}
		}()
		dataplane.Eventually(t, soon, what, func() bool {
			a = s.proxy.client.Do(question())
			return a.Status == http.StatusOK && strings.Contains(string(a.Body), want)
		})
	}
	policy := func(what string, holds func(admin.Policy) bool) {
		t.Helper()
		var last []admin.Policy
		defer func() {
			if t.Failed() {
				t.Logf("%s: the policies are %+v", what, last)
			}
		}()
		dataplane.Eventually(t, soon, what, func() bool {
			st, ok := s.status()
			last = st.Policies
			return ok && len(last) == 1 && holds(last[0])
		})
	}
	policy("the first is number 1", func(p admin.Policy) bool { return p.Number == 1 && !p.Pinned })
	answered("the first default answers", first)

	w.Default = strings.Replace(safeDefault, first, second, 1)
	w.write()
	policy("the second is number 2", func(p admin.Policy) bool { return p.Number == 2 && !p.Pinned })
	answered("the second default answers", second)

	s.does("rollback", "policy", "score", "--reason", "a default nobody asked for")
	policy("number 1 is pinned", func(p admin.Policy) bool { return p.Pinned && p.File == 2 })
	answered("the first default answers again", first)
	if out := s.does("status"); !strings.Contains(out, "held by a rollback") {
		t.Errorf("the status does not tell that the file is not what holds:\n%s", out)
	}
	w.Default = strings.Replace(safeDefault, first, third, 1)
	w.write()
	policy("a further change is recorded", func(p admin.Policy) bool { return p.Pinned && p.File > 2 })
	answered("the first default still answers", first)

	s.process.Kill()
	s.start()
	answered("after a restart too", first)

	s.does("rollback", "policy", "score", "--unpin", "--reason", "agreed")
	policy("the file holds", func(p admin.Policy) bool { return !p.Pinned })
	answered("the file's default answers", third)
	a, err := s.client.History(context.Background(), admin.HistoryQuery{Policy: "default/score"})
	if err != nil || len(a.Value.Policies) < 4 {
		t.Errorf("the history is %+v, error %v", a.Value.Policies, err)
	}
}
