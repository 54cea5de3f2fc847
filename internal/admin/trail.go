package admin

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/audit"
)

// Trail is the audit trail as it is read; *audit.Log is one. It is safe for
// concurrent use.
type Trail interface {
	List(ctx context.Context, f audit.Filter) (audit.List, error)
	Export(ctx context.Context, w io.Writer) error
}

// trailRoutes are those that read the audit trail.
var trailRoutes = []route{
	{method: "GET", path: "/v1/audit", rpc: "Audit", action: access.Read, target: everything, rate: historyRate, dear: true, params: []string{"kind", "target", "actor", "writer", "since", "limit"}, answer: AuditList{}, serve: auditList},
	{method: "GET", path: "/v1/audit/export", rpc: "AuditExport", action: access.Read, target: everything, rate: exportRate, dear: true, media: "application/jsonl", stream: auditExport},
}

// exportRate is of what reads the whole trail.
var exportRate = rate{0.1, 3}

// AuditList is what a question found in the audit trail.
type AuditList struct {
	Entries []AuditEntry `json:"entries"` // newest first
	More    bool         `json:"more"`    // there are more than the limit
	// Missing says what is not in it: the other replicas' entries while the store is
	// away, what somebody else wrote there, or all that is older than what was looked
	// at.
	Missing string `json:"missing,omitempty"`
}

// AuditEntry is one entry of the audit trail, without what proves it: the export
// has that.
type AuditEntry struct {
	Writer     string    `json:"writer"`
	Sequence   uint64    `json:"sequence"`
	At         time.Time `json:"at"`
	Kind       string    `json:"kind"`
	Actor      string    `json:"actor"`
	How        string    `json:"how,omitempty"`
	Address    string    `json:"address,omitempty"`
	Target     string    `json:"target,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	Outcome    string    `json:"outcome"`
	Hash       string    `json:"hash"`
}

func auditList(ctx context.Context, c *call) (any, error) {
	if c.server.trail == nil {
		return nil, NotFound("there is no audit trail here")
	}
	f, err := auditFilter(c)
	if err != nil {
		return nil, err
	}
	found, err := c.server.trail.List(ctx, f)
	if err != nil {
		return nil, err
	}
	out := AuditList{Entries: []AuditEntry{}, More: found.More, Missing: found.Missing}
	for i := range found.Entries {
		e := &found.Entries[i]
		out.Entries = append(out.Entries, AuditEntry{
			Writer: e.Writer, Sequence: e.Sequence, At: e.At, Kind: string(e.Kind), Actor: e.Actor.Name, How: e.Actor.How, Address: e.Actor.Address,
			Target: e.Target, Reason: e.Reason, Generation: e.Generation, Outcome: string(e.Outcome), Hash: e.Hash.String(),
		})
	}
	return out, nil
}

// maxFilter is the most characters of what a filter is compared with.
const maxFilter = 512

func auditFilter(c *call) (f audit.Filter, err error) {
	f = audit.Filter{Writer: c.params["writer"], Target: c.params["target"], Actor: c.params["actor"], Limit: DefaultLimit}
	if text := c.params["kind"]; text != "" {
		for _, word := range strings.Split(text, ",") {
			if !audit.Kind(word).Known() {
				return f, Invalid("kind", "is %q; want some of %q", word, audit.Kinds())
			}
			f.Kinds = append(f.Kinds, audit.Kind(word))
		}
	}
	if text := c.params["since"]; text != "" {
		if f.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return f, Invalid("since", "is no time as 2026-01-31T15:04:05Z")
		}
	}
	if text := c.params["limit"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > MaxLimit {
			return f, Invalid("limit", "is no number from 1 to %d", MaxLimit)
		}
		f.Limit = n
	}
	for field, text := range map[string]string{"writer": f.Writer, "target": f.Target, "actor": f.Actor} {
		if utf8.RuneCountInString(text) > maxFilter {
			return f, Invalid(field, "is longer than %d characters", maxFilter)
		}
	}
	return f, nil
}

// exportFor is how long an export may take.
const exportFor = 10 * time.Minute

func auditExport(ctx context.Context, c *call, w io.Writer) error {
	if c.server.trail == nil {
		return NotFound("there is no audit trail here")
	}
	ctx, cancel := context.WithTimeout(ctx, exportFor)
	defer cancel()
	return c.server.trail.Export(ctx, w)
}
