package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin/adminv1"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// willing does whatever it is asked for, and counts the changes.
type willing struct {
	fakeControl
	changes atomic.Int64
}

func newWilling() *willing {
	w := &willing{}
	w.backup = func(w io.Writer) error { _, err := io.WriteString(w, "all"); return err }
	return w
}

func (w *willing) Model(_ context.Context, model string) (Model, error) {
	return Model{Model: model}, nil
}

func (w *willing) Command(_ context.Context, model string, _ release.Command) (Model, error) {
	w.changes.Add(1)
	return Model{Model: model}, nil
}

func (w *willing) Policy(_ context.Context, policy string, _ PolicyCommand) (Policy, error) {
	w.changes.Add(1)
	return Policy{Policy: policy}, nil
}

func (w *willing) Deregister(context.Context, string, Deregistration) error {
	w.changes.Add(1)
	return nil
}

func (w *willing) Kill(_ context.Context, t kill.Target, o kill.Order) (Killed, error) {
	if err := o.Validate(); err != nil {
		return Killed{}, err
	}
	w.changes.Add(1)
	return Killed{State: KillStateOf(kill.Kill(kill.New(t), o), now), Durability: "store"}, nil
}

func (w *willing) Revive(_ context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	if err := r.Validate(); err != nil {
		return kill.State{}, err
	}
	w.changes.Add(1)
	s := w.killed(t)
	s.Generation, s.By, s.Reason = r.Generation, r.By, r.Reason
	return s, nil
}

func (w *willing) Approve(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	return w.Revive(ctx, t, r)
}

func (w *willing) Keys(context.Context) (Keys, error) { return Keys{}, nil }

func (w *willing) RotateKeys(context.Context, KeyRotation) (Keys, error) {
	w.changes.Add(1)
	return Keys{}, nil
}

func (w *willing) api() *API { return New(Options{Control: w, Keys: w, Trail: &fakeTrail{}}) }

// seeds are bodies, and what goes into paths, queries and headers.
func seeds(add func(route int, first, second, query, header, value, body string)) {
	for i := range routes {
		q := question(routes[i].path)
		query := url.Values{}
		for _, name := range routes[i].params {
			if q.params[name] != "" {
				query.Set(name, q.params[name])
			}
		}
		first := "default"
		if q.params["node"] != "" {
			first = q.params["node"]
		}
		add(i, first, "fraud", query.Encode(), idempotencyHeader, "k1", q.body)
		add(i, "", "..", "limit=1&limit=2&;&%zz", access.UserHeader, "a\x1b[2J", `{"reason":"x","reason":"\u001b"}`)
		add(i, "a%2Fb", "\xff\x00", "target=route/a/b/c%00&model=", "Content-Type", "text/plain", "\xff{")
		add(i, "a/b", strings.Repeat("x", 300), "a=b", idempotencyHeader, "k1\nk2", `{"target":"all","generation":1e400,"reason":null}`)
		add(i, "*", "{name}", "kind=kill,&since=2026-01-02T03:04:05Z", "Authorization", "Bearer x", `{"steps":[{"weight":-1}],"action":"start","version":"v","reason":"x","hold":"0s","force":true}`)
		add(i, "default", "fraud", "", "Host", "evil.example", `{"reason":"`+strings.Repeat("x", maxBody)+`"}`)
		add(i, "default", "fraud", "", "", "", `{"target":"all","reason":"`+strings.Repeat("é", maxReason)+`"}`)
		add(i, "default", "fraud", "", "", "", `{"target":"all","generation":1,"reason":"`+strings.Repeat("é", maxReason)+`"}`)
		add(i, "default", "fraud", "", "Sec-Fetch-Site", "cross-site", `[]`)
		add(i, "default", "fraud", "limit=00000000000000000000000000000000001", "Content-Encoding", "gzip", `{"ramp":"99999h","after":"-1s","mode":""}`)
		add(i, "default", "fraud", "limit=+1", "X-Forwarded-For", "\x7f", `{"target":"model/a/b/../c","reason":"x","generation":18446744073709551615}`)
	}
}

// Whatever is sent to whichever route, with a control plane that does all it is asked
// for: an answer, or a refusal that says what is wrong, and then nothing was done.
func FuzzEveryCall(f *testing.F) {
	seeds(func(route int, first, second, query, header, value, body string) {
		f.Add(uint8(route), first, second, query, header, value, body)
	})
	f.Fuzz(func(t *testing.T, which uint8, first, second, query, header, value, body string) {
		r := &routes[int(which)%len(routes)]
		req := here(httptest.NewRequest(r.method, "http://127.0.0.1:8686/", strings.NewReader(body)))
		part := strings.NewReplacer("{namespace}", first, "{node}", first, "{name}", second, "{version}", second)
		escaped := strings.NewReplacer("{namespace}", url.PathEscape(first), "{node}", url.PathEscape(first), "{name}", url.PathEscape(second), "{version}", url.PathEscape(second))
		req.URL.Path, req.URL.RawPath, req.URL.RawQuery = part.Replace(r.path), escaped.Replace(r.path), query
		if r.method == http.MethodPost {
			req.Header.Set("Content-Type", "application/json")
		}
		if req.Header[http.CanonicalHeaderKey(header)] = strings.Split(value, "\n"); header == "Host" {
			req.Host = value
		}
		control := newWilling()
		w := send(control.api(), req)
		if w.Code == http200 {
			if r.method == http.MethodPost && control.changes.Load() != 1 {
				t.Fatalf("%s: answered, and %d changes", r.path, control.changes.Load())
			}
			return
		}
		if n := control.changes.Load(); n > 0 {
			t.Fatalf("%s: %d, and %d changes", r.path, w.Code, n)
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code < 400 || w.Code > 499 || p.Message == "" || p.Field == "" && p.Hint == "" {
			t.Fatalf("%s %q: %d %s", r.path, req.URL.Path, w.Code, w.Body)
		}
		for _, c := range w.Body.String() {
			if c != '\n' && !printable(string(c)) {
				t.Fatalf("%s: %U in %q", r.path, c, w.Body)
			}
		}
	})
}

// The same of gRPC: any bytes that are a message.
func FuzzEveryRPC(f *testing.F) {
	methods := adminv1.Admin_ServiceDesc.Methods
	for i, m := range methods {
		whole := messageOf(f, methodOf(f, m.MethodName).Input())
		f.Add(uint8(i), []byte{}, idempotencyHeader, "")
		f.Add(uint8(i), []byte{0xa0, 0x06, 0x01}, "x-forwarded-for", "192.0.2.1")
		d := whole.ProtoReflect().Descriptor()
		for _, text := range []string{"default", "start", "all", "model/default/fraud", "1m", "\x1b", "99999h", strings.Repeat("x", 300)} {
			for j := range d.Fields().Len() {
				if field := d.Fields().Get(j); field.Kind() == protoreflect.StringKind && !field.IsList() {
					whole.ProtoReflect().Set(field, protoreflect.ValueOfString(text))
				}
			}
			wire, err := proto.Marshal(whole)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), wire, idempotencyHeader, "k1")
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, wire []byte, name, value string) {
		m := methods[int(which)%len(methods)]
		control := newWilling()
		ctx := metadata.NewIncomingContext(newWatcher(t.Context()).ctx, metadata.MD{strings.ToLower(name): strings.Split(value, "\n")})
		broken := false
		answer, err := m.Handler(control.api().rpc, ctx, func(in any) error {
			err := proto.Unmarshal(wire, in.(proto.Message))
			broken = err != nil
			return err
		}, nil)
		switch n := control.changes.Load(); {
		case broken: // it is refused by gRPC
			return
		case err == nil:
			if _, err := proto.Marshal(answer.(proto.Message)); err != nil {
				t.Fatalf("%s: %v", m.MethodName, err)
			}
			return
		case n > 0:
			t.Fatalf("%s: %v, and %d changes", m.MethodName, err, n)
		}
		s, _ := grpcstatus.FromError(err)
		said := false
		for _, d := range s.Details() {
			switch d := d.(type) {
			case *errdetails.ErrorInfo:
				said = said || d.Metadata["hint"] != ""
			case *errdetails.BadRequest:
				said = true
			}
		}
		switch s.Code() {
		case codes.InvalidArgument, codes.PermissionDenied, codes.ResourceExhausted, codes.Unauthenticated, codes.NotFound:
		default:
			t.Fatalf("%s: %v", m.MethodName, err)
		}
		if !said || !printable(s.Message()) || len(s.Message()) > mostTrailing+10 {
			t.Fatalf("%s: %q with %v", m.MethodName, s.Message(), s.Details())
		}
	})
}
