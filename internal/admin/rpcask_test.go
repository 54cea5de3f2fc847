package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/safestate/safestate/internal/admin/adminv1"
)

// dialled serves an API by gRPC on this machine.
func dialled(t testing.TB, a *API) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	a.Register(g)
	go func() { _ = g.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); g.Stop() })
	return conn
}

// methodOf is a method's descriptor.
func methodOf(t testing.TB, name string) protoreflect.MethodDescriptor {
	t.Helper()
	service := adminv1.File_admin_proto.Services().ByName("Admin")
	method := service.Methods().ByName(protoreflect.Name(name))
	if method == nil {
		t.Fatalf("%s has no method %q", service.FullName(), name)
	}
	return method
}

func messageOf(t testing.TB, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

// asked is one question, in words that both fronts can be asked in.
type asked struct {
	path   string            // of its route
	params map[string]string // of the path and the query
	body   string            // JSON; empty: none
	key    string
}

func (q asked) route(t testing.TB) *route {
	t.Helper()
	i := slices.IndexFunc(routes, func(r route) bool { return r.path == q.path })
	if i < 0 {
		t.Fatalf("no route %s", q.path)
	}
	return &routes[i]
}

// web asks by HTTP.
func (q asked) web(t testing.TB, a *API) (int, []byte) {
	t.Helper()
	r := q.route(t)
	path, query := r.path, url.Values{}
	for name, value := range q.params {
		if slices.Contains(r.params, name) {
			query.Set(name, value)
		}
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	req := request(r.method, path, q.body)
	if q.key != "" {
		req.Header.Set(idempotencyHeader, q.key)
	}
	w := send(a, req)
	return w.Code, w.Body.Bytes()
}

// rpc asks by gRPC. Of a stream the answer has all that came.
func (q asked) rpc(t testing.TB, conn *grpc.ClientConn) (proto.Message, error) {
	t.Helper()
	r := q.route(t)
	method := methodOf(t, r.rpc)
	in, out := messageOf(t, method.Input()), messageOf(t, method.Output())
	fields := map[string]any{}
	if q.body != "" {
		if err := json.Unmarshal([]byte(q.body), &fields); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range q.params {
		fields[name] = value
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(text, in); err != nil {
		t.Fatalf("%s: %s is no %s: %v", r.path, text, method.Input().Name(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if q.key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, idempotencyHeader, q.key)
	}
	name := "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
	if !method.IsStreamingServer() {
		return out, conn.Invoke(ctx, name, in, out)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(in), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	all := &adminv1.Part{}
	for {
		part := &adminv1.Part{}
		switch err := stream.RecvMsg(part); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, err
		}
		all.Content = append(all.Content, part.Content...)
	}
}

// alike holds the two answers to one question against each other, and returns the
// status that it has over HTTP.
func (q asked) alike(t *testing.T, web, rpc *API) int {
	t.Helper()
	status, body := q.web(t, web)
	out, err := q.rpc(t, dialled(t, rpc))
	r := q.route(t)
	switch {
	case status == http.StatusOK && err != nil:
		t.Errorf("%s %v %.200s: %s by HTTP, %v by gRPC", r.path, q.params, q.body, body, err)
	case status != http.StatusOK:
		var p Problem
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatal(err)
		}
		p.Status = status
		isProblem(t, q, err, &p)
	case r.stream != nil:
		if part, ok := out.(*adminv1.Part); !ok || string(part.Content) != string(body) {
			t.Errorf("%s: %q by HTTP, %q by gRPC", r.path, body, out)
		}
	default:
		same := messageOf(t, out.ProtoReflect().Descriptor())
		if err := protojson.Unmarshal(body, same); err != nil { // strict: every field has its place
			t.Errorf("%s: what HTTP answers does not fit into %s: %v: %.100s", r.path, same.ProtoReflect().Descriptor().Name(), err, body)
		} else if !proto.Equal(same, out) {
			t.Errorf("%s: %.500s by HTTP, %.500s by gRPC", r.path, body, protojson.Format(out))
		}
	}
	return status
}

// isProblem holds an error of gRPC against the problem that HTTP tells of.
func isProblem(t *testing.T, q asked, err error, want *Problem) {
	t.Helper()
	s, _ := grpcstatus.FromError(err)
	if s.Code() != outcomes[want.Status].code || s.Code() == codes.OK || s.Message() != want.Error() {
		t.Errorf("%s %v %.200s: %d %s by HTTP, %v by gRPC", q.path, q.params, q.body, want.Status, want, err)
	}
	got := Problem{Status: want.Status}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			got.Hint = d.Metadata["hint"]
			got.Generation = 0
			_ = json.Unmarshal([]byte(cmp.Or(d.Metadata["generation"], "0")), &got.Generation)
		case *errdetails.BadRequest:
			got.Field, got.Message = d.FieldViolations[0].Field, d.FieldViolations[0].Description
		case *errdetails.RetryInfo:
		default:
			t.Errorf("%s: a detail %T", q.path, d)
		}
	}
	if got.Message = cmp.Or(got.Message, want.Message); got.Field != want.Field || got.Message != want.Message || got.Hint != want.Hint || got.Generation != want.Generation {
		t.Errorf("%s %v %.200s: %+v by HTTP, %+v by gRPC", q.path, q.params, q.body, want, got)
	}
}

// wellFormed has a question for every route that gRPC has.
var wellFormed = map[string]asked{
	"/v1/status":                    {},
	"/v1/models/{namespace}/{name}": {},
	"/v1/models/{namespace}/{name}/versions/{version}": {},
	"/v1/history":                              {params: map[string]string{"model": "default/fraud", "limit": "3"}},
	"/v1/models/{namespace}/{name}/rollout":    {body: `{"action":"start","version":"v2","reason":"new","steps":[{"weight":5,"duration":"2m","minRequests":10,"gate":true},{"weight":100}],"force":true,"hold":"0s","expectGeneration":7}`},
	"/v1/models/{namespace}/{name}/rollback":   {body: `{"to":"v1","reason":"bad"}`},
	"/v1/policies/{namespace}/{name}/rollback": {body: `{"to":3,"expectNumber":4,"reason":"bad"}`},
	"/v1/policies/{namespace}/{name}/unpin":    {body: `{"reason":"mended"}`},
	"/v1/proxies/{node}/deregister":            {body: `{"reason":"gone"}`},
	"/v1/keys":                                 {},
	"/v1/keys/rotate":                          {body: `{"reason":"old","after":"1m","overlap":"2h","force":true}`},
	"/v1/store/backup":                         {},
	"/v1/kills":                                {},
	"/v1/kills/proof":                          {params: map[string]string{"target": "model/default/fraud"}},
	"/v1/kill":                                 {body: `{"target":"version/default/fraud/v2","mode":"blackhole","reason":"wrong"}`},
	"/v1/revive":                               {body: `{"target":"all","generation":1,"reason":"mended","ramp":"10m"}`},
	"/v1/approve":                              {body: `{"target":"all","generation":1,"ask":2,"reason":"x"}`},
	"/v1/audit":                                {params: map[string]string{"kind": "kill,revive", "since": "2026-01-02T03:04:05.5Z", "actor": "anna"}},
	"/v1/audit/export":                         {},
}

// question is one of wellFormed, with its path's names.
func question(path string) asked {
	q := wellFormed[path]
	q.path = path
	params := map[string]string{}
	for _, name := range (&route{path: path}).named() {
		params[name] = map[string]string{"namespace": "default", "name": "fraud", "version": "x", "node": "edge/3"}[name]
	}
	for name, value := range q.params {
		params[name] = value
	}
	q.params = params
	return q
}

func everyRoute(t *testing.T, do func(r *route)) {
	t.Helper()
	for i := range routes {
		r := &routes[i]
		if r.path == "/v1/openapi.json" || r.hook { // of HTTP alone
			continue
		}
		if _, ok := wellFormed[r.path]; !ok || r.rpc == "" {
			t.Errorf("%s: no question, or no method of gRPC", r.path)
			continue
		}
		do(r)
	}
}

// with is an API whose control plane has, or fails with, something.
func with(full bool, err error, who Authenticator) *API {
	control := &fullControl{full: full}
	control.err = err
	control.backup = func(w io.Writer) error { _, err := w.Write(make([]byte, 3*partSize+1)); return err }
	return New(Options{Control: control, Keys: control, Trail: &fakeTrail{}, Access: who, Now: func() time.Time { return now }})
}
