package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFiles name the PEM files by which --grpc and --answers are secured: our own
// certificate and key, and the authorities of those who may dial. All three or
// none.
type TLSFiles struct {
	Cert     string
	Key      string
	ClientCA string
	// ProxyCA are further authorities, of proxies alone: a mesh's. A process that keeps
	// releases takes nobody of theirs.
	ProxyCA string
}

// set reports whether any is given.
func (f TLSFiles) set() bool { return f != TLSFiles{} }

var errTLSFiles = errors.New("--tls-cert, --tls-key and --tls-client-ca belong together: give all three or none")

// recheckFiles is how often the files are looked at: certificates are renewed
// while the process runs.
const recheckFiles = 10 * time.Second

// config is a server's configuration that asks every peer for a certificate. A
// renewed file is used from the next handshake on; one that cannot be read is
// told to onError, and the last good one stays.
func (f TLSFiles) config(onError func(error)) (*tls.Config, error) {
	if f.Cert == "" || f.Key == "" || f.ClientCA == "" {
		return nil, errTLSFiles
	}
	first, err := f.read()
	if err != nil {
		return nil, err
	}
	k := &keeper{files: f, onError: onError, current: first, stamp: f.stamp(), looked: time.Now()}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.get(time.Now()), nil },
	}, nil
}

// read makes a configuration of what the files have now.
func (f TLSFiles) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", f.Cert, f.Key, err)
	}
	pool, err := f.authorities()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		NextProtos:   []string{"h2"},
	}, nil
}

func (f TLSFiles) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-client-ca %s: has no certificate in PEM", f.ClientCA)
	}
	if f.ProxyCA == "" {
		return pool, nil
	}
	if pem, err = os.ReadFile(f.ProxyCA); err != nil {
		return nil, fmt.Errorf("--tls-proxy-ca: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-proxy-ca %s: has no certificate in PEM", f.ProxyCA)
	}
	return pool, nil
}

// stamp changes when a file does.
func (f TLSFiles) stamp() (out [4]struct {
	changed time.Time
	size    int64
}) {
	for i, name := range []string{f.Cert, f.Key, f.ClientCA, f.ProxyCA} {
		if info, err := os.Stat(name); err == nil {
			out[i].changed, out[i].size = info.ModTime(), info.Size()
		}
	}
	return out
}

// keeper holds the last good configuration. It is safe for concurrent use.
type keeper struct {
	files   TLSFiles
	onError func(error)

	mu      sync.Mutex
	current *tls.Config
	stamp   [4]struct {
		changed time.Time
		size    int64
	}
	looked time.Time
}

func (k *keeper) get(now time.Time) *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.looked) < recheckFiles {
		return k.current
	}
	k.looked = now
	stamp := k.files.stamp()
	if stamp == k.stamp {
		return k.current
	}
	next, err := k.files.read()
	if err != nil {
		// Half of a renewal, most likely: the stamp stays, so that it is read
		// again.
		k.onError(fmt.Errorf("renewed certificates cannot be used, the last good ones stay: %w", err))
		return k.current
	}
	k.current, k.stamp = next, stamp
	return k.current
}
