package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// badTLS are settings that Envoy cannot use as a client, and those with an
// identity not as a server either.
func badTLS() (identities, others map[string]tlsSetting) {
	pair := func(says string, chain, key *corev3.DataSource) tlsSetting {
		return tlsSetting{says, &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: chain, PrivateKey: key}}}}
	}
	authority := func(says string, v *tlsv3.CertificateValidationContext) tlsSetting {
		return tlsSetting{says, &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}}}
	}
	parameters := func(says string, p *tlsv3.TlsParameters) tlsSetting {
		return tlsSetting{says, &tlsv3.CommonTlsContext{TlsParams: p}}
	}
	identities = map[string]tlsSetting{
		"certificate's file is missing": pair("/nonexistent/key.pem", file("/nonexistent/cert.pem"), file("/nonexistent/key.pem")),
		"certificate is none":           pair("Failed to load certificate chain", inline("nothing"), inline("nothing")),
		"certificate without a key":     pair("Failed to load incomplete private key", inline("nothing"), nil),
	}
	others = map[string]tlsSetting{
		"authority's file is missing": authority("/nonexistent/ca.pem", &tlsv3.CertificateValidationContext{TrustedCa: file("/nonexistent/ca.pem")}),
		"authority is no certificate": authority("Failed to load trusted CA", &tlsv3.CertificateValidationContext{TrustedCa: inline("nothing")}),
		"validator of nobody's":       authority("certificate validator factory for nobody", &tlsv3.CertificateValidationContext{CustomValidatorConfig: nobodys()}),
		"hash is none": authority("Invalid hex-encoded SHA-256", &tlsv3.CertificateValidationContext{
			VerifyCertificateHash: []string{"zz00000000000000000000000000000000000000000000000000000000000000"}}),
		"cipher of nobody's":    parameters("NOBODY-USES-THIS", &tlsv3.TlsParameters{CipherSuites: []string{"NOBODY-USES-THIS"}}),
		"curve of nobody's":     parameters("Failed to initialize ECDH curves", &tlsv3.TlsParameters{EcdhCurves: []string{"nobody-1"}}),
		"signature of nobody's": parameters("Failed to initialize TLS signature", &tlsv3.TlsParameters{SignatureAlgorithms: []string{"nobody_sha1"}}),
	}
	return identities, others
}

type tlsSetting struct {
	says    string
	context *tlsv3.CommonTlsContext
}

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}
