package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin/adminv1"
)

func (r *running) admin() adminv1.AdminClient {
	r.t.Helper()
	conn, err := grpc.NewClient(r.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return adminv1.NewAdminClient(conn)
}

func TestTheAPIByGRPC(t *testing.T) {
	r := start(t, folder(t))
	c := r.admin()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", "k1")
	for range 2 {
		killed, err := c.Kill(ctx, &adminv1.KillRequest{Target: "model/default/fraud", Reason: "wrong"})
		if err != nil || !killed.GetState().GetKilled() || killed.GetState().GetGeneration() != 1 || killed.GetDurability() != "store" {
			t.Fatalf("%v %v", killed, err)
		}
	}
	if _, body := r.get("/v1/kills"); !strings.Contains(body, `"model/default/fraud"`) {
		t.Errorf("by HTTP: %s", body)
	}
	s, err := c.Status(t.Context(), &adminv1.StatusRequest{})
	if err != nil || len(s.GetModels()) != 1 || s.GetModels()[0].GetModel() != "default/fraud" || s.GetBuild() != "test" {
		t.Errorf("%v %v", s, err)
	}
	if _, err := c.Revive(t.Context(), &adminv1.ReviveRequest{Target: "model/default/fraud", Generation: 7, Reason: "x"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of another generation: %v", err)
	}
	remote := metadata.AppendToOutgoingContext(t.Context(), "x-forwarded-for", "192.0.2.1")
	if _, err := c.Kill(remote, &adminv1.KillRequest{Target: "all", Reason: "x"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("through a proxy: %v", err)
	}
	all := 0
	backup, err := c.Backup(t.Context(), &adminv1.BackupRequest{})
	for err == nil {
		var part *adminv1.Part
		if part, err = backup.Recv(); err == nil {
			all += len(part.GetContent())
		}
	}
	if !errors.Is(err, io.EOF) || all == 0 {
		t.Errorf("a backup of %d bytes: %v", all, err)
	}
}

// A proof that is watched for is no request in flight: it does not hold a shutdown up.
func TestAWatchEndsWithTheProcess(t *testing.T) {
	r := start(t, folder(t), func(o *Options) { o.Drain = time.Minute })
	watch, err := r.admin().WatchKillProof(t.Context(), &adminv1.WatchKillProofRequest{Target: "all", Generation: 9})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("%v", err)
	}
	<-r.ended
}

// Where others listen on the way nobody is asked for a token.
func TestNoAPIInPlainTextForOthers(t *testing.T) {
	r := start(t, folder(t), func(o *Options) { o.GRPC, o.GRPCUnprotected = "0.0.0.0:0", true })
	_, port, _ := strings.Cut(r.grpc, "]:")
	r.grpc = "127.0.0.1:" + port
	if _, err := r.admin().Status(t.Context(), &adminv1.StatusRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}

// Over TLS the certificate that lets a peer in gives it no role: the access file does.
func TestWhoMayAskByGRPC(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	cert, key := ca.issue(dir, "server")
	edge, edgeKey := ca.issue(dir, "edge-1")
	token := access.NewToken()
	digest, err := access.Digest(token)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "access.yaml")
	write(t, file, fmt.Sprintf("tokens:\n- {name: ann, sha256: %q}\ngrants:\n- {to: [token:ann], roles: [responder], models: [\"default/fraud\"]}\n", digest))
	r := start(t, folder(t), func(o *Options) { o.TLS, o.AccessFile = TLSFiles{Cert: cert, Key: key, ClientCA: ca.file}, file })
	pair, err := tls.LoadX509KeyPair(edge, edgeKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	conn, err := grpc.NewClient(r.grpc, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	c := adminv1.NewAdminClient(conn)
	for _, q := range []struct {
		token, target string
		want          codes.Code
	}{
		{"", "model/default/fraud", codes.Unauthenticated},
		{"wrong", "model/default/fraud", codes.Unauthenticated},
		{token, "all", codes.PermissionDenied},
		{token, "model/default/fraud", codes.OK},
	} {
		ctx := t.Context()
		if q.token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+q.token)
		}
		killed, err := c.Kill(ctx, &adminv1.KillRequest{Target: q.target, Reason: "wrong"})
		if status.Code(err) != q.want || err == nil && killed.GetState().GetBy() != "token:ann" {
			t.Errorf("%s with the token %q: %v %v, want %s", q.target, q.token, killed, err, q.want)
		}
	}
}
