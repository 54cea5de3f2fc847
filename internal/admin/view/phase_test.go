package view

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// What there is nothing of is not said with an empty name, nor with "never".
func TestWhatAModelDoesNotHave(t *testing.T) {
	first := Model(admin.Model{Model: "default/fraud", Now: now, Phase: release.PhaseFiles})
	if strings.Contains(first, "never") || !strings.Contains(first, "UTC, no weights yet\n") {
		t.Error(first)
	}
	alone := admin.Model{Model: "default/fraud", Phase: release.PhasePromoted, Candidate: "v1"}
	if got, want := Phase(alone), "default/fraud: v1 is promoted and watched, with no other beside it"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	alone.Stable = "v0"
	if got, want := Phase(alone), "default/fraud: v1 is promoted and watched against v0"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
