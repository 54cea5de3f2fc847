package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/audit"
)

// fakeTrail has one entry, and remembers what it was asked for.
type fakeTrail struct{ filter audit.Filter }

func (f *fakeTrail) List(_ context.Context, filter audit.Filter) (audit.List, error) {
	f.filter = filter
	return audit.List{Entries: []audit.Entry{{
		Writer: "a~0123", Sequence: 7, At: now, Kind: audit.KindKill, Actor: audit.Actor{Name: "anna", How: "token", Address: "10.0.0.1"},
		Target: "all", Reason: "wrong", Generation: 3, Outcome: audit.OutcomeDone,
	}}}, nil
}

func (f *fakeTrail) Export(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "{}\n")
	return err
}

func TestTheTrailIsRead(t *testing.T) {
	f := &fakeTrail{}
	h := New(Options{Control: &fakeControl{}, Trail: f, Now: func() time.Time { return now }})
	w := send(h, request(http.MethodGet, "/v1/audit?kind=kill,revive&target=all&actor=anna&since=2026-01-02T03:04:05Z&limit=3", ""))
	var got AuditList
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got.Entries) != 1 || got.Entries[0].Actor != "anna" || got.Entries[0].Sequence != 7 {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if f.filter.Limit != 3 || len(f.filter.Kinds) != 2 || f.filter.Target != "all" || f.filter.Since.IsZero() {
		t.Errorf("asked for %+v", f.filter)
	}
	if w := send(h, request(http.MethodGet, "/v1/audit/export", "")); w.Code != 200 || w.Body.String() != "{}\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for query, field := range map[string]string{"kind=oops": "kind", "since=yesterday": "since", "limit=0": "limit", "until=x": "until", "actor=" + strings.Repeat("x", 600): "actor"} {
		if w := send(h, request(http.MethodGet, "/v1/audit?"+query, "")); w.Code != 400 || !strings.Contains(w.Body.String(), `"field": "`+field+`"`) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	h = New(Options{Control: &fakeControl{}, Trail: f, Access: narrow{[]access.Role{access.Viewer}}})
	if w := send(h, request(http.MethodGet, "/v1/audit", "")); w.Code != 403 {
		t.Errorf("of one model alone: %d", w.Code)
	}
}

// What somebody is refused is told, and what is mistaken is not.
func TestRefusedAttemptsAreTold(t *testing.T) {
	var told []Attempt
	h := New(Options{
		Control: &fakeControl{}, Access: narrow{[]access.Role{access.Responder}}, Now: func() time.Time { return now },
		Attempted: func(a Attempt) { told = append(told, a) },
	})
	send(h, request(http.MethodPost, "/v1/kill", `{"target":"all","reason":"wrong"}`))
	send(h, request(http.MethodPost, "/v1/revive", `{"target":"all","generation":1,"reason":"mended"}`))
	send(h, request(http.MethodGet, "/v1/audit", ""))
	send(h, request(http.MethodPost, "/v1/kill", `{"target":"nothing","reason":"wrong"}`))
	send(h, request(http.MethodPost, "/v1/kill", `{"target":"model/default/fraud","reason":"wrong"}`))
	if len(told) != 2 || told[0].Target != "all" || told[0].By != "anna" || told[0].How != "token" || !strings.HasPrefix(told[0].Why, "kill: ") || !strings.HasPrefix(told[1].Why, "revive: ") {
		t.Errorf("told %+v", told)
	}
}
