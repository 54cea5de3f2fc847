package kill

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/kill"
)

// TestMatrix: every mode, on every row, by every scope: live, killed, live. While
// it is killed nothing reaches the model, whatever is asked for, and callers get
// what the mode says.
func TestMatrix(t *testing.T) {
	models := map[string]versions{}
	var text strings.Builder
	for i := range rows {
		r := &rows[i]
		models[r.name] = versions{startModel(t, r.live), startModel(t, r.live)}
		text.WriteString(r.objects(models[r.name], extra{}))
	}
	s := newStand(t, compiled(t, text.String()), nil)
	for i := range rows {
		s.live(&rows[i], models[rows[i].name])
	}
	for _, scope := range kill.Scopes() {
		for _, mode := range kill.Modes() {
			for i := range rows {
				r := &rows[i]
				t.Run(fmt.Sprint(scope, "/", mode, "/", r.name), func(t *testing.T) {
					s.t = t
					target, v := targets[scope](r), models[r.name]
					s.kill(target, mode)
					before := v.asked()
					s.check(r, r.killed[mode])
					s.others(r)
					if n := v.asked() - before; n != 0 {
						t.Errorf("%d requests reached the model", n)
					}
					s.revive(target)
					s.live(r, v)
				})
			}
		}
	}
}

// live waits until the model answers, which is at once but for the time in which
// the proxy finds its endpoints.
func (s *stand) live(r *row, v versions) {
	s.t.Helper()
	dataplane.Eventually(s.t, soon, "the model answers on "+r.name, func() bool {
		before := v.asked()
		got := s.ask(r)
		return got.body == r.live && v.asked() > before
	})
}

// outcome is what a caller got.
type outcome struct {
	status               int
	code                 codes.Code
	source, reason, body string
}

// ask asks for a prediction.
func (s *stand) ask(r *row) outcome {
	s.t.Helper()
	if r.lastRung == "" {
		s.callers++ // each keeps to its session, where the route has any
		session := http.Header{"X-Session": {fmt.Sprint("caller-", s.callers%50)}}
		a := s.http.Do(dataplane.Request{Path: "/" + r.name + r.path, Body: []byte(r.request), Header: session})
		if a.Err != nil {
			s.t.Fatal(a.Err)
		}
		return outcome{status: a.Status, source: a.Source(), reason: a.Reason(), body: string(a.Body)}
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-route", r.name), soon)
	defer cancel()
	a := s.grpc.Infer(ctx, clients.Message{Model: "m"})
	out := outcome{code: a.Code, source: a.Meta("x-safestate-source"), reason: a.Meta("x-safestate-reason")}
	if o, ok := a.Output("score"); ok {
		out.body = strings.Replace(r.live, "0.25", fmt.Sprint(o.Values[0]), 1)
	}
	return out
}

func (s *stand) check(r *row, w want) {
	s.t.Helper()
	got := s.ask(r)
	if r.lastRung == "" && got.status != w.status || r.lastRung != "" && got.code != w.code || got.source != w.source ||
		!strings.HasPrefix(got.reason, w.reason) || !strings.Contains(got.body, w.body) || w.body == "" && got.body != "" {
		s.t.Errorf("callers get %+v, want %+v", got, w)
	}
}

// others asks for what is no prediction: health, a preflight, a head, an upgrade;
// over gRPC other methods, and a stream.
func (s *stand) others(r *row) {
	s.t.Helper()
	if r.lastRung != "" {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-route", r.name), soon)
		defer cancel()
		if _, err := s.grpc.Ready(ctx, "m"); err == nil {
			s.t.Error("the killed model says that it is ready")
		}
		for _, a := range s.grpc.Stream(ctx, clients.Message{Model: "m"}) {
			if a.Code == codes.OK && len(a.Outputs) > 0 {
				s.t.Errorf("a stream has an answer: %+v", a)
			}
		}
		return
	}
	for _, q := range []dataplane.Request{
		{Method: http.MethodGet, Path: "/v2/health/ready"},
		{Method: http.MethodHead, Path: r.path},
		{Method: http.MethodOptions, Path: r.path, Header: http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"POST"}}},
		{Method: http.MethodGet, Path: r.path, Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}},
		{Method: http.MethodPut, Path: r.path + "?a=b", Body: []byte("{}")},
	} {
		q.Path = "/" + r.name + q.Path
		if a := s.http.Do(q); a.Err == nil && a.Source() == "primary" {
			s.t.Errorf("%s %s is answered by the model", q.Method, q.Path)
		}
	}
}
