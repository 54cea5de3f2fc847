package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin/adminv1"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

func (nobody) AuthenticateRPC(context.Context) (access.Principal, error) {
	return nobody{}.Authenticate(nil)
}

func (viewer) AuthenticateRPC(context.Context) (access.Principal, error) {
	return viewer{}.Authenticate(nil)
}

func (a as) AuthenticateRPC(context.Context) (access.Principal, error) { return a.Authenticate(nil) }

func (n narrow) AuthenticateRPC(context.Context) (access.Principal, error) {
	return n.Authenticate(nil)
}

func TestBothFrontsAnswerAlike(t *testing.T) {
	for _, full := range []bool{true, false} {
		everyRoute(t, func(r *route) {
			if status := question(r.path).alike(t, with(full, nil, nil), with(full, nil, nil)); status != http.StatusOK {
				t.Errorf("%s: %d", r.path, status)
			}
		})
	}
}

// Both ask the control plane for the same.
func TestBothFrontsAskForTheSame(t *testing.T) {
	everyRoute(t, func(r *route) {
		backup := func(io.Writer) error { return nil }
		web, rpc := &fakeControl{backup: backup}, &fakeControl{backup: backup}
		keys, at := func() Keyring { return &fullControl{} }, func() time.Time { return now }
		question(r.path).alike(t, New(Options{Control: web, Keys: keys(), Trail: &fakeTrail{}, Now: at}), New(Options{Control: rpc, Keys: keys(), Trail: &fakeTrail{}, Now: at}))
		if r.stream == nil && (!slices.Equal(web.calls(), rpc.calls()) || len(web.commands) != len(rpc.commands)) {
			t.Errorf("%s: %q by HTTP, %q by gRPC", r.path, web.calls(), rpc.calls())
		}
		for i := range web.commands {
			one, _ := json.Marshal(web.commands[i])
			two, _ := json.Marshal(rpc.commands[i])
			if string(one) != string(two) {
				t.Errorf("%s: %s by HTTP, %s by gRPC", r.path, one, two)
			}
		}
	})
}

func TestBothFrontsRefuseAlike(t *testing.T) {
	refusing := func(q asked, status int, web, rpc *API) {
		t.Helper()
		if got := q.alike(t, web, rpc); got != status {
			t.Errorf("%s %v %.200s: %d, want %d", q.path, q.params, q.body, got, status)
		}
	}
	everyRoute(t, func(r *route) {
		q := question(r.path)
		refusing(q, 401, with(true, nil, nobody{}), with(true, nil, nobody{}))
		if r.action != access.Read {
			refusing(q, 403, with(true, nil, viewer{}), with(true, nil, viewer{}))
			if r.body != nil {
				bad := q
				bad.body = strings.Replace(q.body, `"reason":"`, `"reason":"\u001b`, 1)
				refusing(bad, 400, with(true, nil, nil), with(true, nil, nil))
				bad.body = strings.Replace(q.body, `"reason":"`, `"reason":"`+strings.Repeat("x", maxBody), 1)
				refusing(bad, 413, with(true, nil, nil), with(true, nil, nil))
				bad = q
				bad.key = strings.Repeat("k", maxKey+1)
				refusing(bad, 400, with(true, nil, nil), with(true, nil, nil))
			}
		}
		for _, name := range r.named() {
			if name == "node" {
				continue
			}
			bad := question(r.path)
			bad.params[name] = "Fraud!"
			refusing(bad, 400, with(true, nil, nil), with(true, nil, nil))
		}
	})
	for _, err := range []error{
		Conflict(9, "the generation is 9"), release.ErrRefused, store.ErrConflict, store.ErrUnavailable, context.DeadlineExceeded,
		errors.New("the disk is full"), Invalid("to", "is unknown").Hinted("look"), NotFound("there is none"), &Problem{Message: "without a status"},
	} {
		web := func() *API { return New(Options{Control: &fakeControl{err: err}}) }
		question(rollbackPathOf).alike(t, web(), web())
	}
	for _, q := range []asked{
		{path: "/v1/models/{namespace}/{name}", params: map[string]string{"namespace": "default", "name": "other"}},
		{path: "/v1/history", params: map[string]string{"model": "a/b", "policy": "a/b"}},
		{path: "/v1/history", params: map[string]string{"limit": "1001"}},
		{path: "/v1/kills/proof"},
		{path: "/v1/kills/proof", params: map[string]string{"target": "model/fraud"}},
		{path: "/v1/kill", body: `{"target":"model/*/fraud","reason":"x"}`},
		{path: "/v1/kill", body: `{"target":"all","mode":"gentle","reason":"x"}`},
		{path: "/v1/revive", body: `{"target":"all","generation":7,"reason":"mended"}`},
		{path: "/v1/revive", body: `{"target":"all","generation":1,"reason":"mended","ramp":"soon"}`},
		{path: "/v1/approve", body: `{"target":"all","generation":1,"ask":2,"reason":"seen"}`},
		{path: "/v1/audit", params: map[string]string{"kind": "oops"}},
	} {
		if got := q.alike(t, serve(&fakeControl{}), serve(&fakeControl{})); got < 400 || got > 409 {
			t.Errorf("%s %v %.200s: %d", q.path, q.params, q.body, got)
		}
	}
}

const rollbackPathOf = "/v1/models/{namespace}/{name}/rollback"

// One has counted and remembers what the other was asked.
func TestTheFrontsAreOne(t *testing.T) {
	f := &fakeControl{}
	api := serve(f)
	conn := dialled(t, api)
	q := question(rollbackPathOf)
	q.key = "k1"
	_, body := q.web(t, api)
	q.body = ` { "reason": "bad", "to": "v1" } ` // the same, in other words
	out, err := q.rpc(t, conn)
	same := &adminv1.Model{}
	if err2 := protojson.Unmarshal(body, same); err != nil || err2 != nil || !proto.Equal(same, out) || len(f.calls()) != 1 {
		t.Errorf("again: %v %v %v, asked %q", out, err, err2, f.calls())
	}
	q.body = `{"reason":"worse"}`
	if _, err := q.rpc(t, conn); grpcstatus.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "another request") {
		t.Errorf("the key of another request: %v", err)
	}
	q.key = ""
	for range int(changeRate.atOnce) {
		q.web(t, api)
	}
	_, err = q.rpc(t, conn)
	s, _ := grpcstatus.FromError(err)
	retry := slices.ContainsFunc(s.Details(), func(d any) bool { _, ok := d.(*errdetails.RetryInfo); return ok })
	if s.Code() != codes.ResourceExhausted || !retry {
		t.Errorf("after too many by HTTP: %v %v", err, s.Details())
	}
}

// What is refused by gRPC is told as well.
func TestRefusedCallsAreTold(t *testing.T) {
	var told []Attempt
	api := New(Options{Control: &fakeControl{}, Access: narrow{[]access.Role{access.Responder}}, Attempted: func(a Attempt) { told = append(told, a) }})
	q := question("/v1/kill")
	q.body = `{"target":"all","reason":"wrong"}`
	if _, err := q.rpc(t, dialled(t, api)); grpcstatus.Code(err) != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
	if len(told) != 1 || told[0].By != "anna" || !strings.HasPrefix(told[0].Why, "kill: ") || told[0].Address != "127.0.0.1" {
		t.Errorf("told %+v", told)
	}
}

// A field that a newer client knows may change what it means by the others.
func TestUnknownFieldsAreRefused(t *testing.T) {
	f := &fakeControl{}
	client := adminv1.NewAdminClient(dialled(t, serve(f)))
	in := &adminv1.KillRequest{Target: "all", Reason: "x"}
	in.ProtoReflect().SetUnknown([]byte{0xa0, 0x06, 0x01}) // field 100
	_, err := client.Kill(t.Context(), in)
	deep := &adminv1.RolloutRequest{Namespace: "default", Name: "fraud", Action: "start", Version: "v2", Reason: "x", Steps: []*adminv1.Step{{Weight: 5}}}
	deep.Steps[0].ProtoReflect().SetUnknown([]byte{0xa0, 0x06, 0x01})
	_, err2 := client.Rollout(t.Context(), deep)
	if grpcstatus.Code(err) != codes.InvalidArgument || grpcstatus.Code(err2) != codes.InvalidArgument || len(f.calls()) > 0 {
		t.Errorf("%v, %v, asked %q", err, err2, f.calls())
	}
}

// broken panics.
type broken struct{ fakeControl }

func (*broken) Status(context.Context) (Status, error) { panic("broken") }

func TestAPanicEndsOneCallAlone(t *testing.T) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	client := adminv1.NewAdminClient(dialled(t, New(Options{Control: &broken{}})))
	if _, err := client.Status(t.Context(), &adminv1.StatusRequest{}); grpcstatus.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
	if _, err := client.Kills(t.Context(), &adminv1.KillsRequest{}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// What does not print, or is no text at all, and what is long comes through as an
// error all the same.
func TestErrorsFitIntoTrailers(t *testing.T) {
	p := Invalid("a\x1bb\xff", "%s", strings.Repeat("é\x00", 5000)).Hinted("%s", "\xff"+strings.Repeat("x", 5000))
	s, _ := grpcstatus.FromError(rpcError(p))
	wire, err := proto.Marshal(s.Proto())
	if err != nil || len(wire) > 6000 || len(s.Details()) != 2 || !printable(s.Message()) {
		t.Errorf("%d bytes, %d details, %v", len(wire), len(s.Details()), err)
	}
}
