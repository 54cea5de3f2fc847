package tlsmesh

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/certtest"
)

// authority signs certificates.
type authority struct {
	*certtest.Authority
	t *testing.T
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	return &authority{certtest.New(t, name), t}
}

// pair is where one side's files are: tls.crt, tls.key and ca.crt of a folder.
type pair struct{ cert, key, ca string }

func pairIn(dir string) pair {
	return pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
}

// renew puts files in the place of those of a pair as renewals do, each by a
// rename: a certificate of a's for a name, and the authorities that its owner
// trusts.
func (a *authority) renew(to pair, name string, until time.Time, trusted ...*authority) {
	a.t.Helper()
	says := certtest.Named(name)
	says.NotAfter = until
	cert, key := a.Issue(a.t, says)
	var authorities []byte
	for _, t := range trusted {
		authorities = append(authorities, t.PEM...)
	}
	// All are written before the first is moved: in between they do not fit together.
	stage(a.t, to.ca, authorities)
	stage(a.t, to.key, key)
	stage(a.t, to.cert, cert)
	for _, path := range []string{to.ca, to.key, to.cert} {
		move(a.t, path)
	}
}

// place writes a file and moves it where it belongs.
func place(t *testing.T, path string, content []byte) {
	t.Helper()
	stage(t, path, content)
	move(t, path)
}

const staged = ".next"

func stage(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+staged, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path+staged, path); err != nil {
		t.Fatal(err)
	}
}

// issued is a new pair, valid for an hour, of one who trusts a.
func (a *authority) issued(name string) pair { return a.issuedUntil(name, time.Now().Add(time.Hour)) }

func (a *authority) issuedUntil(name string, until time.Time) pair {
	a.t.Helper()
	p := pairIn(a.t.TempDir())
	a.renew(p, name, until, a)
	return p
}

// proxyFlags are those of safestate render, serveFlags those of safestate serve.
func (p pair) proxyFlags() []string {
	return []string{"--tls-cert", p.cert, "--tls-key", p.key, "--tls-ca", p.ca}
}

func (p pair) serveFlags() []string {
	return []string{"--tls-cert", p.cert, "--tls-key", p.key, "--tls-client-ca", p.ca}
}
