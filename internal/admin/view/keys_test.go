package view

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

func TestKeys(t *testing.T) {
	at := time.Date(2026, 10, 2, 3, 4, 5, 0, time.UTC)
	got := Keys(admin.Keys{
		Keys: []admin.Key{
			{ID: "34750f98bd59fcfc", State: admin.KeyCurrent, Signs: at.Add(-49 * time.Hour)},
			{ID: "0a1b2c3d4e5f6071", State: admin.KeyNext, Signs: at.Add(10 * time.Second), By: "local:ann (claimed)", Reason: "a disk was given away, and with it\x1b[2J the store; " + strings.Repeat("x", 80)},
		},
		Waiting: "the new key is not at: replica b; " + strings.Repeat("proxy ", 20),
	}, at)
	for _, want := range []string{"34750f98bd59fcfc  current  2d1h ago", "the first start", "0a1b2c3d4e5f6071  next     not yet", "local:ann", "A rotation is under way:\n  the new key is not at: replica b"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > columns || strings.ContainsRune(line, '\x1b') {
			t.Errorf("%q", line)
		}
	}
}
