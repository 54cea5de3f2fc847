package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
)

// trailOf are the entries of some kinds, oldest first: OUTCOME, what of the target
// and the reason is the same in every run, and the address.
func trailOf(t *testing.T, r *running, kinds string) (out []string) {
	t.Helper()
	var list admin.AuditList
	if status, body := r.get("/v1/audit?kind=" + kinds); status != http.StatusOK || json.Unmarshal([]byte(body), &list) != nil {
		t.Fatalf("%d %s", status, body)
	}
	for _, e := range slices.Backward(list.Entries) {
		target, _, _ := strings.Cut(e.Target, "/")
		step, _, _ := strings.Cut(e.Reason, ":")
		if e.Address == "" {
			e.Address = "itself"
		}
		out = append(out, e.Outcome+" "+target+" "+step+" from "+e.Address)
	}
	return out
}

// What touches the keys that sign policies is in the trail before it is answered.
func TestKeysAndBackupsAreInTheTrail(t *testing.T) {
	r := start(t, folder(t))
	for range 3 {
		answer, err := r.client.Post("http://"+r.http+"/v1/keys/rotate", "application/json", strings.NewReader(`{"reason":"it leaked","force":true}`))
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatal(answer, err)
		}
		_ = answer.Body.Close()
	}
	if got, want := trailOf(t, r, "key"), []string{
		"done key made from itself", "done key made from 127.0.0.1", "done key signs from 127.0.0.1", "done key dropped from 127.0.0.1",
	}; !slices.Equal(got, want) {
		t.Errorf("of rotations the trail has %q, want %q", got, want)
	}
	answer, err := r.client.Get("http://" + r.http + "/v1/store/backup")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	if got := trailOf(t, r, "backup"); len(got) != 1 || !strings.HasPrefix(got[0], "begun store all of the store's content") {
		t.Errorf("of a backup the trail has %q", got)
	}
}

// A backup that the trail does not take is not given out.
func TestNoBackupWithoutItsEntry(t *testing.T) {
	trail, err := audit.Open(audit.Options{Dir: t.TempDir(), Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	var problem *admin.Problem
	err = (&plane{trail: trail}).backup(context.Background(), audit.Actor{Name: "ann"}, io.Discard)
	if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable {
		t.Errorf("the trail is closed, and a backup is answered with %v", err)
	}
}
