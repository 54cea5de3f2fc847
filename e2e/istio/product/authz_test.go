package product

import (
	"context"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// authz is an external authorization: it denies what has the header x-deny. It is safe
// for concurrent use.
type authz struct {
	port int
	stop func()

	mu       sync.Mutex
	requests int
	headers  map[string]string // of the last request
	during   func()            // called while it has a request; nil: nothing is
}

func newAuthz(t *testing.T) *authz {
	t.Helper()
	a := &authz{}
	a.port, a.stop = serveGRPC(t, func(s *grpc.Server) { authv3.RegisterAuthorizationServer(s, a) })
	return a
}

// Check allows a request, or denies it.
func (a *authz) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	a.headers = r.GetAttributes().GetRequest().GetHttp().GetHeaders()
	if a.during != nil {
		a.during()
	}
	if a.headers["x-deny"] != "" {
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: "not you",
			}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{{
			Header: &corev3.HeaderValue{Key: "x-user", Value: "alice"},
		}}}},
	}, nil
}
