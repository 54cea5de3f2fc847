package access

import (
	"crypto/x509"
	"regexp"
	"slices"
	"strings"
	"time"
)

// certificate is a row of the file: whose certificates are a principal.
type certificate struct {
	name  string
	where string // uri, dns, email or commonName
	match *regexp.Regexp
	many  bool // the pattern is for more than one name
}

// The places of a certificate that may name its holder.
const (
	inURI    = "uri"
	inDNS    = "dns"
	inEmail  = "email"
	inCommon = "commonName"
)

// matcher makes a pattern of one in which * stands for one part: of a URI
// between slashes, of a DNS name between dots, of the rest anything but an @.
func matcher(where, pattern string) *regexp.Regexp {
	part := map[string]string{inURI: `[^/]+`, inDNS: `[^.]+`}[where]
	if part == "" {
		part = `[^@]+`
	}
	if where == inDNS {
		pattern = strings.ToLower(pattern)
	}
	pieces := strings.Split(pattern, "*")
	for i, piece := range pieces {
		pieces[i] = regexp.QuoteMeta(piece)
	}
	return regexp.MustCompile(`^` + strings.Join(pieces, part) + `$`)
}

// named returns the name in a certificate that the row is for; empty: none. A
// SPIFFE ID counts where it is the only URI, as its standard says.
func (c certificate) named(cert *x509.Certificate) string {
	var held []string
	switch c.where {
	case inURI:
		for _, u := range cert.URIs {
			held = append(held, u.String())
		}
		if len(held) != 1 && slices.ContainsFunc(held, func(u string) bool { return strings.HasPrefix(u, "spiffe:") }) {
			return ""
		}
	case inDNS:
		for _, name := range cert.DNSNames {
			held = append(held, strings.ToLower(name))
		}
	case inEmail:
		held = cert.EmailAddresses
	case inCommon:
		held = []string{cert.Subject.CommonName}
	}
	for _, name := range held {
		if printable(name) && c.match.MatchString(name) {
			return name
		}
	}
	return ""
}

// verified says whether a chain leads to one of the authorities, now, for a
// client.
func verified(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
