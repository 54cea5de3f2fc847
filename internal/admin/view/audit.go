package view

import (
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// Audit writes entries of the audit trail, newest first.
func Audit(l admin.AuditList) string {
	var p page
	for _, e := range l.Entries {
		head := fmt.Sprintf("%s  %s", e.At.UTC().Format(time.DateTime), e.Kind)
		if e.Target != "" {
			head += " " + e.Target
		}
		if e.Outcome != "done" {
			head += " (" + e.Outcome + ")"
		}
		p.line("%s", head)
		by := e.Actor
		if e.How != "" {
			by += " by " + e.How
		}
		if e.Address != "" {
			by += " from " + e.Address
		}
		p.text("  ", fmt.Sprintf("%s: %s", by, e.Reason))
		p.line("  %s #%d %.12s…", e.Writer, e.Sequence, e.Hash)
	}
	if len(l.Entries) == 0 {
		p.line("There is no such entry.")
	}
	if l.More {
		p.line("There are more: --limit, --since or a filter shows them.")
	}
	if l.Missing != "" {
		p.text("! ", "not looked at: "+l.Missing)
	}
	return p.String()
}
