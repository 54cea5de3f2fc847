package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin/adminv1"
)

// rpc is the front by gRPC. A request becomes the parameters and the body that it
// has over HTTP, and the answer's JSON a message: so it is decoded, checked and
// answered by the same code. Browsers cannot speak it, so nothing is held against
// them here.
type rpc struct {
	adminv1.UnsafeAdminServer

	server *server
	routes map[string]*route // by method
}

func newRPC(s *server) rpc {
	f := rpc{server: s, routes: map[string]*route{}}
	for i := range routes {
		if r := &routes[i]; r.rpc != "" {
			f.routes[r.rpc] = r
		}
	}
	return f
}

func (f rpc) call(ctx context.Context, method string, in proto.Message) *call {
	return &call{server: f.server, route: f.routes[method], front: &rpcCall{ctx: ctx, in: in}}
}

// unary has a method that is answered in one piece answered.
func unary[M any, P interface {
	*M
	proto.Message
}](ctx context.Context, f rpc, method string, in proto.Message) (out P, err error) {
	defer unbroken(method, &err)
	out = new(M)
	return out, fillFrom(f.server.answer(ctx, f.call(ctx, method, in)), out)
}

// fillFrom makes an answer a message, or an error.
func fillFrom(got result, out proto.Message) error {
	if got.problem != nil {
		return rpcError(got.problem)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(got.body, out); err != nil {
		return rpcError(&Problem{Status: http.StatusInternalServerError, Message: fmt.Sprintf("the answer cannot be sent: %s", err)})
	}
	return nil
}

// unbroken keeps a panic from ending the process, as package http does.
func unbroken(method string, err *error) {
	if broken := recover(); broken != nil {
		log.Printf("grpc: panic serving %s: %v\n%s", method, broken, debug.Stack())
		*err = rpcError(&Problem{Status: http.StatusInternalServerError, Message: "the request could not be served"})
	}
}

// rpcCall is one gRPC call. Not safe for concurrent use.
type rpcCall struct {
	ctx  context.Context
	in   proto.Message
	rest map[string]any // what of it belongs in a body
}

func (f *rpcCall) authenticate(a Authenticator) (access.Principal, error) {
	return a.AuthenticateRPC(f.ctx)
}

func (f *rpcCall) peer() string { return access.OfRPC(f.ctx).Peer }

func (f *rpcCall) params(r *route) (map[string]string, error) {
	if proto.Size(f.in) > maxBody {
		return nil, tooLarge()
	}
	if err := known(f.in.ProtoReflect()); err != nil {
		return nil, err
	}
	f.rest = fieldsOf(f.in.ProtoReflect())
	params := map[string]string{}
	for _, name := range append(r.named(), r.params...) {
		if value, ok := f.rest[name]; ok {
			params[name] = fmt.Sprint(value)
			delete(f.rest, name)
		}
	}
	return params, nil
}

func (f *rpcCall) body() ([]byte, error) { return json.Marshal(f.rest) }

func (f *rpcCall) keys() []string {
	md, _ := metadata.FromIncomingContext(f.ctx)
	return md.Get(idempotencyHeader)
}

// The methods, each a route.

func (f rpc) Status(ctx context.Context, in *adminv1.StatusRequest) (*adminv1.Status, error) {
	return unary[adminv1.Status](ctx, f, "Status", in)
}

func (f rpc) Model(ctx context.Context, in *adminv1.ModelRequest) (*adminv1.Model, error) {
	return unary[adminv1.Model](ctx, f, "Model", in)
}

func (f rpc) Version(ctx context.Context, in *adminv1.VersionRequest) (*adminv1.VersionJudgement, error) {
	return unary[adminv1.VersionJudgement](ctx, f, "Version", in)
}

func (f rpc) History(ctx context.Context, in *adminv1.HistoryRequest) (*adminv1.History, error) {
	return unary[adminv1.History](ctx, f, "History", in)
}

func (f rpc) Rollout(ctx context.Context, in *adminv1.RolloutRequest) (*adminv1.Model, error) {
	return unary[adminv1.Model](ctx, f, "Rollout", in)
}

func (f rpc) Rollback(ctx context.Context, in *adminv1.RollbackRequest) (*adminv1.Model, error) {
	return unary[adminv1.Model](ctx, f, "Rollback", in)
}

func (f rpc) PolicyRollback(ctx context.Context, in *adminv1.PolicyRollbackRequest) (*adminv1.Policy, error) {
	return unary[adminv1.Policy](ctx, f, "PolicyRollback", in)
}

func (f rpc) PolicyUnpin(ctx context.Context, in *adminv1.PolicyUnpinRequest) (*adminv1.Policy, error) {
	return unary[adminv1.Policy](ctx, f, "PolicyUnpin", in)
}

func (f rpc) Deregister(ctx context.Context, in *adminv1.DeregisterRequest) (*adminv1.Done, error) {
	return unary[adminv1.Done](ctx, f, "Deregister", in)
}

func (f rpc) Keys(ctx context.Context, in *adminv1.KeysRequest) (*adminv1.Keys, error) {
	return unary[adminv1.Keys](ctx, f, "Keys", in)
}

func (f rpc) RotateKeys(ctx context.Context, in *adminv1.RotateKeysRequest) (*adminv1.Keys, error) {
	return unary[adminv1.Keys](ctx, f, "RotateKeys", in)
}

func (f rpc) Kills(ctx context.Context, in *adminv1.KillsRequest) (*adminv1.KillList, error) {
	return unary[adminv1.KillList](ctx, f, "Kills", in)
}

func (f rpc) KillProof(ctx context.Context, in *adminv1.KillProofRequest) (*adminv1.KillProof, error) {
	return unary[adminv1.KillProof](ctx, f, "KillProof", in)
}

func (f rpc) Kill(ctx context.Context, in *adminv1.KillRequest) (*adminv1.Killed, error) {
	return unary[adminv1.Killed](ctx, f, "Kill", in)
}

func (f rpc) Revive(ctx context.Context, in *adminv1.ReviveRequest) (*adminv1.KillState, error) {
	return unary[adminv1.KillState](ctx, f, "Revive", in)
}

func (f rpc) Approve(ctx context.Context, in *adminv1.ApproveRequest) (*adminv1.KillState, error) {
	return unary[adminv1.KillState](ctx, f, "Approve", in)
}

func (f rpc) Audit(ctx context.Context, in *adminv1.AuditRequest) (*adminv1.AuditList, error) {
	return unary[adminv1.AuditList](ctx, f, "Audit", in)
}

func (f rpc) Backup(in *adminv1.BackupRequest, out grpc.ServerStreamingServer[adminv1.Part]) error {
	return f.parts("Backup", in, out)
}

func (f rpc) AuditExport(in *adminv1.AuditExportRequest, out grpc.ServerStreamingServer[adminv1.Part]) error {
	return f.parts("AuditExport", in, out)
}
