package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// within bounds every start and stop: generous, because machines are busy.
const within = 90 * time.Second

// readyPoll is how often a server is asked whether it is ready: each time it
// logs that it is not.
const readyPoll = 50 * time.Millisecond

// Options of an API server. The zero value has no kinds but Kubernetes' own and
// nobody but the administrator.
type Options struct {
	// CRDs are applied and Established before StartAPI returns.
	CRDs []CRDs
	// Namespaces are made beside those that every cluster has.
	Namespaces []string
	// Users are further ones with their groups, each with a token and without
	// any right of its own. ServiceAccount makes others later.
	Users map[string][]string
	// Flags are added to kube-apiserver's.
	Flags []string
}

// API is a kube-apiserver on 127.0.0.1 that decides by RBAC and keeps its data
// over a restart. Its methods are for one goroutine at a time.
type API struct {
	// URL is where it answers, also after it was started again.
	URL string
	// Admin may do everything.
	Admin *User
	// Process is the server that was started last.
	Process *dataplane.Process

	t      testing.TB
	folder string
	port   int
	opts   Options
	users  map[string]*User
}

// StartAPI starts a kube-apiserver and waits until it is ready and has what the
// options ask for. It ends with the test.
func StartAPI(t testing.TB, opts Options) *API {
	t.Helper()
	a := &API{t: t, folder: t.TempDir(), port: porttest.Free(t), opts: opts, users: map[string]*User{}}
	a.URL = fmt.Sprintf("https://127.0.0.1:%d", a.port)
	a.writeKey()
	a.writeTokens()
	a.Start()
	for name := range a.tokens() {
		a.users[name] = a.newUser(name, tokenOf(name))
	}
	a.Admin = a.As(administrator)
	for _, crds := range opts.CRDs {
		a.applyCRDs(crds(t))
	}
	for _, name := range opts.Namespaces {
		a.Admin.Apply(t, "test", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}\n")
	}
	return a
}

// Start starts the server again after Stop or Kill: the same port, the same
// data, the same tokens.
func (a *API) Start() {
	a.t.Helper()
	path := kubeAPIServer.find(a.t)
	key := filepath.Join(a.folder, "serviceaccounts.pem")
	args := []string{
		filepath.Join(a.folder, "etcd"),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", a.port),
		"--cert-dir=" + filepath.Join(a.folder, "certificates"),
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC", "--token-auth-file=" + filepath.Join(a.folder, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		"--disable-admission-plugins=ServiceAccount", // Pods here are data: nothing gives them a token
		"--profiling=false",
	}
	a.Process = dataplane.Spawn(a.t, "kube-apiserver", path, append(args, a.opts.Flags...)...)
	a.WaitReady()
}

// WaitReady waits until the server says that all of it is ready.
func (a *API) WaitReady() {
	a.t.Helper()
	dataplane.Eventually(a.t, within, "kube-apiserver is ready", every(readyPoll, func() bool {
		if a.Process.Exited() {
			a.t.Fatalf("kube-apiserver ended: %v", a.Process.WaitExit(0))
		}
		return a.ready()
	}))
}

// Stop ends the server as a roll-out does, by SIGTERM.
func (a *API) Stop() {
	a.t.Helper()
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatalf("kube-apiserver: %v", err)
	}
	if err := a.Process.WaitExit(within); err != nil {
		a.t.Fatalf("kube-apiserver on SIGTERM: %v", err)
	}
}

// Kill ends it at once, with etcd, as a node's crash does.
func (a *API) Kill() { a.Process.Kill() }

// Freeze stops it where it stands: connections stay open and nothing answers,
// until Thaw.
func (a *API) Freeze() { signal(a.t, a.Process, syscall.SIGSTOP) }

// Thaw has it go on after Freeze.
func (a *API) Thaw() { signal(a.t, a.Process, syscall.SIGCONT) }

func signal(t testing.TB, p *dataplane.Process, s syscall.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatalf("%s: %v: %v", p.Name, s, err)
	}
}

// writeKey writes the key that signs the tokens of service accounts.
func (a *API) writeKey() {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("serviceaccounts.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
}

// writeTokens writes one line a user: token, name, id, groups.
func (a *API) writeTokens() {
	a.t.Helper()
	var b strings.Builder
	tokens := a.tokens()
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		fmt.Fprintf(&b, "%s,%s,%s,%q\n", tokenOf(name), name, name, strings.Join(tokens[name], ","))
	}
	a.write("tokens.csv", b.String())
}

func (a *API) write(name, text string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.folder, name), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// authority is the certificate that the server signed its own with, in PEM;
// empty as long as there is none.
func (a *API) authority() []byte {
	text, err := os.ReadFile(filepath.Join(a.folder, "certificates", "apiserver.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.t.Fatal(err)
	}
	return text
}
