package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/safestate/safestate/internal/access"
)

// tokenVariable names the environment variable that stands in for --token-file.
const tokenVariable = "SAFESTATE_TOKEN_FILE"

// tokenIn reads a token from its file, which others must not read.
func tokenIn(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return "", fmt.Errorf("--token-file %s: everybody may read it (mode %04o): chmod 0600", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if !access.IsToken(token) {
		return "", fmt.Errorf("--token-file %s: want one token, and nothing else", path)
	}
	return token, nil
}

// clientTLS is how a command reaches a server by https.
type clientTLS struct{ cert, key, ca string }

func (c *clientTLS) flags(f *pflag.FlagSet) {
	f.StringVar(&c.ca, "ca", "", "PEM file of the authorities of an https --server (default: the system's)")
	f.StringVar(&c.cert, "cert", "", "PEM file of the certificate to show an https --server")
	f.StringVar(&c.key, "key", "", "PEM file of its key")
}

// config is nil where no flag is given.
func (c *clientTLS) config() (*tls.Config, error) {
	if *c == (clientTLS{}) {
		return nil, nil
	}
	if (c.cert == "") != (c.key == "") {
		return nil, errors.New("--cert and --key belong together: give both or none")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert %s, --key %s: %w", c.cert, c.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s: has no certificate in PEM", c.ca)
		}
	}
	return config, nil
}
