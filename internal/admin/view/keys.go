package view

import (
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// Keys writes one line a key, and what a rotation waits for. now is where "ago"
// counts from.
func Keys(k admin.Keys, now time.Time) string {
	var p page
	rows := make([][]string, 0, len(k.Keys))
	for _, key := range k.Keys {
		signs := "not yet"
		if d := now.Sub(key.Signs); d >= 0 && key.State != admin.KeyNext {
			signs = span(d) + " ago"
		}
		why := key.By
		if key.Reason != "" {
			why += ": " + key.Reason
		}
		if why == "" {
			why = "the first start"
		}
		rows = append(rows, []string{key.ID, string(key.State), signs, why})
	}
	p.table("", []int{16, 8, 12, 0}, []string{"KEY", "STATE", "SIGNS SINCE", "BY"}, rows)
	if k.Waiting != "" {
		p.line("A rotation is under way:")
		p.text("  ", k.Waiting)
	}
	return p.String()
}
