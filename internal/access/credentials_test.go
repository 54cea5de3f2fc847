package access

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		headers []string
		want    string
		wrong   string
	}{
		{nil, "", ""},
		{[]string{"Bearer abc"}, "abc", ""},
		{[]string{"bearer abc"}, "abc", ""},
		{[]string{"BEARER   abc"}, "abc", ""},
		{[]string{"Bearer a.b-c_d~e+f/g=="}, "a.b-c_d~e+f/g==", ""},
		{[]string{"Bearer abc", "Bearer abc"}, "", "twice"},
		{[]string{"Bearer abc", ""}, "", "twice"},
		{[]string{""}, "", "another kind"},
		{[]string{"Basic YTpi"}, "", "another kind"},
		{[]string{"abc"}, "", "another kind"},
		{[]string{"Bearerabc"}, "", "another kind"},
		{[]string{" Bearer abc"}, "", "another kind"},
		{[]string{"Bearer\tabc"}, "", "another kind"},
		{[]string{"Bearer"}, "", "has no token"},
		{[]string{"Bearer "}, "", "has no token"},
		{[]string{"Bearer ="}, "", "has no token"},
		{[]string{"Bearer a b"}, "", "has no token"},
		{[]string{"Bearer abc "}, "", "has no token"},
		{[]string{"Bearer a=b"}, "", "has no token"},
		{[]string{"Bearer a,Bearer b"}, "", "has no token"},
		{[]string{"Bearer \"abc\""}, "", "has no token"},
		{[]string{"Bearer äbc"}, "", "has no token"},
		{[]string{"Bearer abc\x00"}, "", "has no token"},
		{[]string{"Bearer " + strings.Repeat("a", maxToken+1)}, "", "over 12 KiB"},
	} {
		got, err := bearer(c.headers)
		if got != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%.60q: %q, %v", c.headers, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "abc") {
			t.Errorf("%q repeats the token", err)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"Bearer abc", "bearer  a.b.c", "Basic YTpi", "Bearer", "Bearer a=b", "Bearer sst_x\x00"} {
		f.Add(seed)
	}
	p, err := parse("access.yaml", []byte(good(f)), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := bearer([]string{value})
		switch {
		case err == nil && (token == "" || !IsToken(token) || !strings.HasSuffix(value, token)):
			t.Fatalf("%q is read as %q", value, token)
		case err != nil && token != "":
			t.Fatalf("%q: %q with %v", value, token, err)
		}
		who, err := p.authenticate(t.Context(), Credentials{Authorization: []string{value}, Local: true})
		if err == nil || who.ID != "" {
			t.Fatalf("%q is %q", value, who.ID)
		}
		var r *Refusal
		if !errors.As(err, &r) || r.Class != Unauthenticated {
			t.Fatalf("%q: %v", value, err)
		}
	})
}

// from has a request come from a peer to an address of ours.
func from(r *http.Request, peer, own string) *http.Request {
	r.RemoteAddr = peer
	if addr, err := net.ResolveTCPAddr("tcp", own); err == nil && own != "" {
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
	}
	return r
}

func TestLocalIsThisMachineAndNoProxy(t *testing.T) {
	for _, c := range []struct {
		peer, own, header string
		local             bool
	}{
		{"127.0.0.1:1", "127.0.0.1:8686", "", true},
		{"127.8.8.8:1", "127.0.0.1:8686", "", true},
		{"[::1]:1", "[::1]:8686", "", true},
		{"[::ffff:127.0.0.1]:1", "127.0.0.1:8686", "", true},
		{"10.0.0.5:1", "127.0.0.1:8686", "", false},
		{"127.0.0.1:1", "10.0.0.7:8686", "", false},
		{"127.0.0.6:1", "127.0.0.1:8686", "", false}, // Istio's sidecar
		{"127.0.0.1:1", "", "", false},
		{"nonsense", "127.0.0.1:8686", "", false},
		{"", "127.0.0.1:8686", "", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "X-Forwarded-For", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "X-Forwarded-Client-Cert", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "X-Forwarded-Port", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "X-Request-Id", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "X-Envoy-Attempt-Count", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "Forwarded", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "Via", false},
		{"127.0.0.1:1", "127.0.0.1:8686", "X-Other", true},
	} {
		r := from(httptest.NewRequest("POST", "/v1/kill", nil), c.peer, c.own)
		md := metadata.MD{}
		if c.header != "" {
			r.Header.Set(c.header, "10.0.0.5")
			md.Set(c.header, "10.0.0.5")
		}
		if got := OfRequest(r).Local; got != c.local {
			t.Errorf("HTTP from %q to %q with %q: %v", c.peer, c.own, c.header, got)
		}
		ctx := metadata.NewIncomingContext(t.Context(), md)
		if addr, err := net.ResolveTCPAddr("tcp", c.peer); err == nil && c.peer != "" {
			p := &peer.Peer{Addr: addr}
			if own, err := net.ResolveTCPAddr("tcp", c.own); err == nil && c.own != "" {
				p.LocalAddr = own
			}
			ctx = peer.NewContext(ctx, p)
		}
		if got := OfRPC(ctx).Local; got != c.local {
			t.Errorf("gRPC from %q to %q with %q: %v", c.peer, c.own, c.header, got)
		}
	}
	if !OfRPC(peer.NewContext(t.Context(), &peer.Peer{Addr: &net.UnixAddr{Net: "unix"}})).Local {
		t.Error("a peer on a Unix socket is not local")
	}
}

func TestLoopbackTrustsThisMachineAlone(t *testing.T) {
	for _, c := range []struct {
		peer, user, name string
		kills            bool
		wrong            string
	}{
		{"127.0.0.1:1", "", "local", true, ""},
		{"127.0.0.1:1", "alice", "local:alice (claimed)", true, ""},
		{"127.0.0.1:1", "al ice", "", false, UserHeader},
		{"127.0.0.1:1", "alice\x1b[2J", "", false, UserHeader},
		{"10.0.0.5:1", "alice", "remote:10.0.0.5", false, ""},
	} {
		r := from(httptest.NewRequest("POST", "/v1/kill", nil), c.peer, "127.0.0.1:8686")
		if c.user != "" {
			r.Header.Set(UserHeader, c.user)
		}
		p, err := Loopback{}.Authenticate(r)
		if p.Name != c.name || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s as %q: %q, %v", c.peer, c.user, p.Name, err)
		}
		if err != nil {
			continue
		}
		if got := Authorize(p, Kill, Everything()) == nil; got != c.kills {
			t.Errorf("%s kills: %v", c.peer, got)
		}
		if err := Authorize(p, Read, Everything()); err != nil {
			t.Errorf("%s does not read: %v", c.peer, err)
		}
	}
	if (Loopback{}).Approvals(Everything()) != 0 {
		t.Error("somebody has to approve")
	}
	r := httptest.NewRequest("POST", "/", nil)
	r.RemoteAddr = "10.0.0.5:1"
	r.Header.Set("Cookie", "token=x")
	if p, _ := (Loopback{}).Authenticate(r); !strings.Contains(Authorize(p, Kill, Everything()).Error(), "this machine only") {
		t.Error("no hint")
	}
}

func TestRPCStatuses(t *testing.T) {
	for class, want := range map[Class]codes.Code{
		Unauthenticated: codes.Unauthenticated, Forbidden: codes.PermissionDenied, Unavailable: codes.Unavailable, Malformed: codes.InvalidArgument,
	} {
		if got := status.Code(RPC(&Refusal{Class: class, Message: "x"})); got != want {
			t.Errorf("%d: %s", class, got)
		}
	}
	for class, want := range map[Class]int{Unauthenticated: 401, Forbidden: 403, Unavailable: 503, Malformed: 400, 0: 401} {
		if got := class.HTTPStatus(); got != want {
			t.Errorf("%d: %d", class, got)
		}
	}
	if !errors.Is(RPC(context.Canceled), context.Canceled) {
		t.Error("another error is changed")
	}
}
