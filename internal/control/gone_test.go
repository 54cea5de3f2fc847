package control

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
)

// api is the API of a bench.
func (b *bench) api() *API {
	return NewAPI(b.control, APIOptions{
		Configuration: func() admin.Configuration { return admin.Configuration{} },
		Backup:        func(context.Context, audit.Actor, io.Writer) error { return nil },
	})
}

// scraped are the lines of the metrics that begin so.
func (b *bench) scraped(start string) (lines []string) {
	w := httptest.NewRecorder()
	b.control.o.Metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, start) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// A model that left the files alarms nobody, its rollout ends, and what is known of it
// is there when it is back.
func TestAModelThatLeftTheFiles(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	b.do(release.Command{Do: release.Start, Version: "v2", Steps: []release.Step{{Weight: 5, MinRequests: 1 << 40}, {Weight: 100}}})
	if len(b.scraped("safestate_release_generation{")) != 1 {
		t.Fatal("no metrics of a model that is there")
	}
	b.configure(models.elsewhere(t, b.control.Edit))

	if got := b.scraped("safestate_release_"); slices.ContainsFunc(got, func(l string) bool {
		return strings.Contains(l, fraud) && !strings.Contains(l, "records_total")
	}) {
		t.Errorf("metrics of a model that left: %q", got)
	}
	h := admin.New(admin.Options{Control: b.api()})
	var s admin.Status
	ask(t, h, http.MethodGet, "/v1/status", "", http.StatusOK, &s)
	about := slices.DeleteFunc(s.Troubles, func(x admin.Trouble) bool { return x.About != fraud })
	if len(about) != 1 || about[0].Level != admin.LevelNotice || !strings.Contains(about[0].What, "not in the files") {
		t.Errorf("%+v", about)
	}
	var p admin.Problem
	ask(t, h, http.MethodPost, "/v1/models/default/fraud/rollout", `{"action":"abort","reason":"x"}`, http.StatusNotFound, &p)
	if !strings.Contains(p.Message, "the files do not have") || strings.Contains(p.Hint, fraud) {
		t.Errorf("%+v", p)
	}

	now := time.Now()
	b.control.dismiss(t.Context(), now)
	if b.state().Rollout == nil {
		t.Fatal("its rollout has ended at once: the files may be on their way")
	}
	b.control.dismiss(t.Context(), now.Add(2*leavesAfter))
	after := b.until("its rollout ends", func(s release.State) bool { return s.Rollout == nil })
	if after.Weights["v1"] != 100 || after.Candidate != "" {
		t.Errorf("%+v", after)
	}
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	var m admin.Model
	ask(t, h, http.MethodGet, "/v1/models/default/fraud", "", http.StatusOK, &m)
	if m.Gone || m.Generation != after.Generation {
		t.Errorf("%+v", m)
	}
}

// Files that lack a model for a moment end nothing.
func TestAModelThatIsBackInTime(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	world, without := models.world(t, one, 1, 100, unedited), models.elsewhere(t, unedited)
	b.configure(world)
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	b.stop() // nobody else looks
	now := time.Now()
	look := func(s *compile.Snapshot, after time.Duration) []string {
		b.control.mu.Lock()
		b.control.files = s
		b.control.mu.Unlock()
		return b.control.left(now.Add(after))
	}
	for i, c := range []struct {
		s     *compile.Snapshot
		after time.Duration
		want  int
	}{{without, 0, 0}, {world, leavesAfter / 2, 0}, {without, leavesAfter, 0}, {without, 2*leavesAfter - 1, 0}, {without, 2 * leavesAfter, 1}, {nil, time.Hour, 0}} {
		if got := look(c.s, c.after); len(got) != c.want {
			t.Errorf("look %d: %q have left", i, got)
		}
	}
}

// A policy that left the files is told of only where a person holds it.
func TestAPolicyThatLeftTheFiles(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	if !eventually(func() bool { return len(b.control.policyList()) == 1 }) {
		t.Fatal("the policy is not recorded")
	}
	b.configure(models.elsewhere(t, b.control.Edit))
	named := func() []admin.Policy {
		return slices.DeleteFunc(b.control.policyList(), func(p admin.Policy) bool { return p.Policy != fraud })
	}
	if got := named(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := b.control.policyHistory(fraud); len(got) != 1 {
		t.Errorf("its history is gone: %+v", got)
	}
	b.configure(models.world(t, one, 2, 100, b.control.Edit))
	if !eventually(func() bool {
		_, err := b.api().Policy(t.Context(), fraud, admin.PolicyCommand{Do: admin.PolicyRollback, By: "ann", Reason: "too wide"})
		return err == nil
	}) {
		t.Fatal("the policy is not rolled back")
	}
	b.configure(models.elsewhere(t, b.control.Edit))
	if got := named(); len(got) != 1 || !got[0].Gone || !got[0].Pinned {
		t.Errorf("%+v", got)
	}
}
