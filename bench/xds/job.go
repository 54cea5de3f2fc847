package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// job is what a child is told on its command line, as JSON.
type job struct {
	Subject string
	Change  string
	Address string // of the server
	Clients int
	Models  int
	Samples string
	Ports   []string // of the first model's versions; empty: those of the sample
	Profile string   // host:port for pprof; empty: none
	TLS     string   // folder of the server's certificate; empty: plain text
}

func (j *job) argument() (string, error) {
	text, err := json.Marshal(j)
	return string(text), err
}

// jobOf reads a child's arguments.
func jobOf(args []string) (*job, *subject, *change, error) {
	if len(args) != 1 {
		return nil, nil, nil, fmt.Errorf("want a job as JSON, got %q", args)
	}
	j := &job{}
	if err := json.Unmarshal([]byte(args[0]), j); err != nil {
		return nil, nil, nil, err
	}
	s, err := subjectNamed(j.Subject)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := changeNamed(j.Change)
	return j, s, c, err
}

// The files in a folder for TLS. The certificate vouches for itself.
const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// writeTLS makes a key and its certificate for this machine.
func writeTLS(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// serverTLS and clientTLS are the two sides' settings; nil for no folder.
func serverTLS(folder string) (*tls.Config, error) {
	if folder == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(folder, certFile), filepath.Join(folder, keyFile))
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}, nil
}

func clientTLS(folder string) (*tls.Config, error) {
	if folder == "" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(folder, certFile))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", certFile)
	}
	return &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}, nil
}
