package main

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

func TestASecondTryAndHowLongForceHolds(t *testing.T) {
	c := &control{models: []admin.Model{rolling(0)}}
	server := remoteServer(t, c)
	for _, args := range [][]string{
		{"start", "fraud", "v2", "--reason", "the feed is back", "--again"},
		{"start", "fraud", "v2", "--reason", "x", "--force"},
		{"start", "fraud", "v2", "--reason", "x", "--force", "--hold", "0"},
		{"promote", "fraud", "--reason", "x", "--force", "--hold", "2h"},
	} {
		if got := run(t, append(append([]string{"rollout"}, args...), server)...); got.exit != 0 {
			t.Fatalf("%v: %+v", args, got)
		}
	}
	c.mu.Lock()
	c.models = []admin.Model{withdrawn(3, nil, true)}
	c.mu.Unlock()
	if got := run(t, "rollback", "fraud", "--to", "v1", "--reason", "x", "--force", "--hold", "1m", server); got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	commands := c.asked()
	if first := commands[0]; !first.Again || first.Force || first.Hold != nil {
		t.Errorf("%+v", first)
	}
	if plain := commands[1]; plain.Again || !plain.Force || plain.Hold != nil {
		t.Errorf("%+v", plain)
	}
	for i, want := range map[int]time.Duration{2: 0, 3: 2 * time.Hour, 4: time.Minute} {
		if got := commands[i].Hold; got == nil || *got != release.Duration(want) {
			t.Errorf("command %d is held for %v, want %s", i, got, want)
		}
	}
	if got := run(t, "rollout", "start", "fraud", "v2", "--reason", "x", "--hold", "1m", server); got.exit == 0 {
		t.Errorf("%+v", got)
	}
}
