// Package etcd is the store's engine on etcd: a server of its own in this
// process, in a folder, or a cluster by its endpoints. Above the client both
// are one code path.
package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Defaults of the fields of Options that are 0.
const (
	DefaultCallTimeout = 2 * time.Second

	// DefaultLease is how long a replica that died without a word still leads
	// (and about half a second more, since etcd looks for ended leases twice a
	// second). A leader renews three times in it, so one lost renewal, or etcd's
	// own change of leader (1 to 1.5 s by its defaults), does not unseat it.
	DefaultLease = 3 * time.Second

	// DefaultQuota is what the embedded server's file may grow to.
	DefaultQuota = 1 << 30
)

// Options say where the store is: Dir or Endpoints, one of them.
type Options struct {
	// Dir is safestate's own data folder. The embedded server lives in its
	// sub-folder "etcd", which is readable for this user only, and listens
	// nowhere.
	Dir string

	// Endpoints of a cluster: https://host:port, http://host:port, or host:port,
	// which is https if CA or Cert is given and else must be on this machine.
	Endpoints []string

	// CA holds the authorities of the endpoints, Cert and Key are our own
	// certificate: names of PEM files. Without CA the system's authorities
	// count. Renewed certificates are used from the next connection on.
	CA, Cert, Key string

	// User, and the file that holds the password on its first line.
	User, PasswordFile string

	// Prefix stands before every key, for clusters that several share: etcd's
	// role for User need not reach further. Default: none.
	Prefix string

	// CallTimeout bounds every call. Default: DefaultCallTimeout.
	CallTimeout time.Duration

	// Lease is how long records of Register and leaders of Elect outlive their
	// process, in whole seconds; etcd gives at least 1.5 times its election
	// timeout. Default: DefaultLease.
	Lease time.Duration

	// Quota bounds the embedded server's file, in bytes. Default: DefaultQuota.
	Quota int64

	// Problem is told what goes wrong in the background, one line an error. It
	// is called from many goroutines and must not block. Default: nobody is.
	Problem func(error)

	free func(dir string) (uint64, error) // bytes free on a folder's disk
}

func (o Options) withDefaults() Options {
	if o.CallTimeout <= 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.Quota <= 0 {
		o.Quota = DefaultQuota
	}
	if o.free == nil {
		o.free = freeSpace
	}
	if o.Problem == nil {
		o.Problem = func(error) {}
	}
	return o
}

// check finds what contradicts itself.
func (o Options) check() error {
	switch {
	case o.Dir == "" && len(o.Endpoints) == 0:
		return errors.New("store: give a folder for the embedded etcd, or the endpoints of a cluster")
	case o.Dir != "" && len(o.Endpoints) != 0:
		return errors.New("store: a folder for the embedded etcd and endpoints of a cluster exclude each other")
	case o.Dir != "" && (o.CA != "" || o.Cert != "" || o.Key != "" || o.User != "" || o.PasswordFile != ""):
		return errors.New("store: certificates and users are for a cluster's endpoints; the embedded etcd listens nowhere")
	case (o.Cert == "") != (o.Key == ""):
		return errors.New("store: a client certificate and its key belong together")
	case (o.User == "") != (o.PasswordFile == ""):
		return errors.New("store: a user and the file with the password belong together")
	}
	return nil
}

// endpoints returns the endpoints with their scheme written out.
func (o Options) endpoints() ([]string, error) {
	secured := o.CA != "" || o.Cert != ""
	var out []string
	for _, text := range o.Endpoints {
		endpoint := strings.TrimSpace(text)
		if !strings.Contains(endpoint, "://") {
			switch {
			case secured:
				endpoint = "https://" + endpoint
			case local(endpoint):
				endpoint = "http://" + endpoint
			default:
				return nil, fmt.Errorf("store: endpoint %q: write https:// before it, or http:// for plain text", text)
			}
		}
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" ||
			(u.Scheme != "https" && u.Scheme != "http") {
			return nil, fmt.Errorf("store: endpoint %q: want https://host:port", text)
		}
		if u.Scheme == "http" && secured {
			return nil, fmt.Errorf("store: endpoint %q is plain text, and certificates are given: write https://", text)
		}
		if u.Scheme == "http" && o.User != "" && !local(u.Host) {
			return nil, fmt.Errorf("store: endpoint %q would get the password in plain text: write https://", text)
		}
		out = append(out, u.Scheme+"://"+u.Host)
	}
	schemes := func(e string) bool { return strings.HasPrefix(e, "https") != strings.HasPrefix(out[0], "https") }
	if slices.ContainsFunc(out, schemes) {
		return nil, errors.New("store: endpoints are all https or all http")
	}
	return out, nil
}

// local reports whether host:port is on this machine.
func local(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// tls returns the client's side of https.
func (o Options) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("store: authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("store: authorities: %s has no certificate in PEM", o.CA)
		}
	}
	if o.Cert == "" {
		return config, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("store: certificate %s, key %s: %w", o.Cert, o.Key, err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	config.GetClientCertificate = load // at each connection: files are renewed
	return config, nil
}

// password reads the first line of the password's file.
func (o Options) password() (string, error) {
	if o.PasswordFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("store: password: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", fmt.Errorf("store: password: the first line of %s is empty", o.PasswordFile)
	}
	return line, nil
}
