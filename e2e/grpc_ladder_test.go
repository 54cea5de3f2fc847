package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// grpcStand is a data plane with the routes of grpc-ladder.yaml.tmpl.
type grpcStand struct {
	plane             *dataplane.Plane
	primary, fallback *fm.Server
	grpc              *clients.GRPC
	triton            *clients.Triton
}

// The routes.
const (
	everyRung   = "all"
	onlyDefault = "default"
	byMessage   = "message"
)

func newGRPCStand(t *testing.T) *grpcStand {
	t.Helper()
	s := &grpcStand{}
	s.primary, s.fallback = models(t)
	dir := t.TempDir()
	text := fill(t, "grpc-ladder.yaml.tmpl", map[string]any{
		"PrimaryPort": s.primary.Port(), "FallbackPort": s.fallback.Port(), "Deadline": calmly.deadline, "Default": grpcDialect.safe,
		"Routes":   []string{everyRung, onlyDefault, byMessage},
		"Defaults": []map[string]string{{"Route": onlyDefault, "LastRung": "Unavailable"}, {"Route": byMessage, "LastRung": "Answer"}},
	})
	if err := os.WriteFile(filepath.Join(dir, "grpc.yaml"), calmly.fallbackIn(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.plane = dataplane.Start(t, dataplane.Options{Config: dir})
	s.grpc = dialGRPC(t, s.plane)
	s.triton = clients.StartTriton(t, s.plane.Traffic)
	return s
}

// each asks the same with raw contents and with typed ones through grpc-go, and
// through tritonclient.
func (s *grpcStand) each(t *testing.T, route string, features [][]float32, check func(way string, g got)) {
	t.Helper()
	c := grpcCell{grpcTable: &grpcTable{grpc: s.grpc, triton: s.triton}, route: route}
	for _, way := range []struct {
		name string
		ask  func(*testing.T, [][]float32) got
	}{{"raw", c.goRows(false)}, {"typed", c.goRows(true)}, {"tritonclient", c.tritonRows}} {
		asked := features
		if asked == nil {
			asked = rows(1)
		}
		check(way.name, again(3, func() got { return way.ask(t, asked) }, func(g got) bool {
			return g.reason == "processor_away" || g.source == "" && g.code == codes.Unavailable // Envoy may have given up waiting
		}))
	}
}

// gives returns a check of an answer of a source, whose model gives a score;
// negative: any.
func gives(t *testing.T, source, model, version string, score float64) func(string, got) {
	return func(way string, g got) {
		t.Helper()
		problem := lacking(g, model, version, 1)
		if g.source != "" && g.source != source || g.source == "" && way != "tritonclient" {
			problem = "want the source " + source
		}
		if out, found := g.reply.Output("score"); problem == "" && score >= 0 && found && out.Values[0] != score {
			problem = fmt.Sprintf("the score is %v, want %v", out.Values[0], score)
		}
		if problem != "" {
			t.Errorf("%s: %s; %s", way, problem, g)
		}
	}
}

// TestEveryRungOfGRPC walks down the ladder of gRPC, for calls that fail with a
// message and for those that fail without any: each rung answers when those
// before it cannot.
func TestEveryRungOfGRPC(t *testing.T) {
	s := newGRPCStand(t)
	seen := rows(1)
	s.each(t, everyRung, seen, gives(t, "primary", everyRung, "v1", -1))
	for _, f := range []fm.Fault{fm.C04NaNBitsFP32, fm.S04UnavailableForEver, fm.S04AfterHeaders, fm.S05ResetBeforeHeaders, fm.C12EmptyBody} {
		s.primary.Set(f, 0)
		before := s.primary.Count(f)
		s.each(t, everyRung, seen, gives(t, "cache", everyRung, "v1", -1))
		s.each(t, everyRung, nil, gives(t, "fallback", "small", "small", -1))
		s.fallback.Set(fm.C07InfBitsFP32, 0)
		asked := s.fallback.Count(fm.C07InfBitsFP32)
		s.each(t, everyRung, nil, gives(t, "rules", "rules", "", 0.25))
		r, _ := infer(s.grpc, everyRung, clients.Message{Rows: rows(1), Parameters: map[string]any{"amount": 9000.0}})
		if score, _ := r.Output("score"); len(score.Values) != 1 || score.Values[0] != 0.5 || r.Meta("x-safestate-source") != "rules" {
			t.Errorf("a rule about a parameter: %s, source %q, score %v", r.Code, r.Meta("x-safestate-source"), score.Values)
		}
		dataplane.Eventually(t, 10*time.Second, "the fallback was asked", func() bool { return s.fallback.Count(fm.C07InfBitsFP32) > asked })
		s.fallback.Set(fm.None, 0)
		for _, route := range []string{onlyDefault, byMessage} {
			s.each(t, route, nil, gives(t, "safe_default", "default", "", 0.5))
		}
		if s.primary.Count(f) == before {
			t.Errorf("%s was not there", f)
		}
	}
	everySourceCounts(t, s.plane)
}

// TestLastRungOfGRPC: with safestate dead a call ends by UNAVAILABLE, or where
// the policy says so by the default as a message; nothing that a client takes
// for an empty answer. What is no inference is asked of the model all the same.
func TestLastRungOfGRPC(t *testing.T) {
	s := newGRPCStand(t)
	s.each(t, onlyDefault, nil, gives(t, "primary", onlyDefault, "v1", -1))
	s.plane.Safestate.Kill()
	asked := s.primary.Requests()
	s.each(t, onlyDefault, nil, func(way string, g got) {
		if g.code != codes.Unavailable || len(g.reply.Outputs) > 0 {
			t.Errorf("%s: %s", way, g)
		}
	})
	s.each(t, byMessage, nil, gives(t, "safe_default", "default", "", 0.5))
	if n := s.primary.Requests() - asked; n != 0 {
		t.Errorf("the model was asked %d times with nobody to look at what it says", n)
	}
	o := s.triton.Ask(t, clients.Infer{Op: clients.OpAbout, Model: onlyDefault, Header: map[string]string{routeHeader: onlyDefault}, Seconds: 15})
	if o.Raised != nil || o.About == nil || !o.About.Ready || !o.About.Live {
		t.Errorf("calls that ask about the model: %+v, %+v", o.About, o.Raised)
	}
	s.plane.StartSafestate()
	dataplane.Eventually(t, 30*time.Second, "the model answers again", func() bool {
		r, _ := infer(s.grpc, onlyDefault, clients.Message{Rows: rows(1)})
		return r.Meta("x-safestate-source") == "primary"
	})
}

// TestCallersErrorsOfGRPC: what the caller did wrong is the caller's to see, and
// is not taken to the ladder.
func TestCallersErrorsOfGRPC(t *testing.T) {
	s := newGRPCStand(t)
	plain, err := clients.DialGRPC(s.primary.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	short := clients.Message{Rows: [][]float32{{1, 2, 3}}}
	want, _ := infer(plain, everyRung, short)
	for _, route := range []string{everyRung, byMessage} {
		asked, fallen := s.primary.Requests(), s.fallback.Requests()
		got, _ := infer(s.grpc, route, short)
		if got.Code != codes.InvalidArgument || got.Code != want.Code || got.Message != want.Message || !strings.Contains(got.Message, "bad input") {
			t.Errorf("%s: %s %q, without us %s %q", route, got.Code, got.Message, want.Code, want.Message)
		}
		if n := s.primary.Requests() - asked; n != 1 || s.fallback.Requests() != fallen {
			t.Errorf("%s: the model was asked %d times, the fallback %d", route, n, s.fallback.Requests()-fallen)
		}
	}
}
