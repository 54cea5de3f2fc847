package serve

import (
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
)

// trailTroubles are what is not well with the audit trail.
func trailTroubles(s audit.Status) (out []admin.Trouble) {
	add := func(level admin.Level, since time.Time, format string, args ...any) {
		out = append(out, admin.Trouble{Level: level, About: "audit trail", Since: since, What: fmt.Sprintf(format, args...)})
	}
	if s.WriteError != "" {
		add(admin.LevelProblem, time.Time{}, "its disk does not take entries: %s. Kills go on; other changes are done and answered with an error", s.WriteError)
	}
	if s.Damage != "" {
		add(admin.LevelProblem, time.Time{}, "its chain was damaged, and %s goes on for it: %s. Keep the old files, and see safestate audit verify", s.Writer, s.Damage)
	}
	for _, a := range s.Anchors {
		if a.Error != "" {
			add(admin.LevelProblem, a.At, "%s does not keep its head, the last one is of entry %d of %d: %s", a.Anchor, a.Sequence, s.Sequence, a.Error)
		}
	}
	if s.StoreError != "" {
		add(admin.LevelNotice, time.Time{}, "the store has %d of its %d entries: %s", s.Stored, s.Sequence, s.StoreError)
	}
	return out
}
