package envoy

import (
	"errors"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// TLS is how Envoy dials safestate: the control plane, the processor and the
// ladder. The zero value is plain text, and else CA, Cert and Key are required:
// safestate asks every peer for a certificate, and lets a proxy be only the node
// that is a name in its own. Every file is on Envoy's machine.
type TLS struct {
	CA        string // PEM file of the authorities of safestate's certificate
	Cert, Key string // PEM files of Envoy's own
	// ServerName is what safestate's certificate has to name. Default: the host
	// of each address, a name or an IP address. A Unix socket has none.
	ServerName string
	// Secret is the file with what TLSSecret gives. With it Envoy uses a
	// certificate and key that are renewed, by a rename, from the next connection
	// on; without it, what they were when Envoy started. CASecret is the same for
	// CA, with what CASecret gives. Envoy takes one secret from a file.
	Secret, CASecret string

	// Mesh, in the place of all files, is for proxies of Istio's: the authorities of
	// safestate's certificate, as PEM. The proxy shows the certificate that Istio's
	// agent beside it has for its workload. A Unix socket is plain text then.
	Mesh string
}

// What Istio's agent calls the cluster by which its proxy fetches certificates, and
// the workload's own.
const (
	agentCluster = "sds-grpc"
	agentSecret  = "default"
)

// Names in the files of secrets.
const (
	secretName   = "safestate"    // the certificate
	caSecretName = "safestate_ca" // the authorities
)

// check finds what is missing; nil too where there is no TLS.
func (s TLS) check() error {
	if s.Mesh != "" && s != (TLS{Mesh: s.Mesh, ServerName: s.ServerName}) {
		return errors.New("tls: a mesh's proxies have no files of ours: want none beside the authorities")
	}
	if s.Mesh == "" && s != (TLS{}) && (s.CA == "" || s.Cert == "" || s.Key == "") {
		return errors.New("tls: the files of the authorities, of the certificate and of its key belong together: want all three or none")
	}
	return nil
}

// to is the transport to one of our services; nil: plain text.
func (s TLS) to(service string, at *corev3.Address) (*corev3.TransportSocket, error) {
	if err := s.check(); err != nil || s == (TLS{}) {
		return nil, err
	}
	if s.Mesh != "" && at.GetPipe() != nil {
		return nil, nil //nolint:nilnil // plain text, to who is beside it
	}
	name := orElse(s.ServerName, at.GetSocketAddress().GetAddress())
	if name == "" {
		return nil, fmt.Errorf("tls: %s is at a Unix socket, which has no name that its certificate could have: want a server name", service)
	}
	ctx := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		// Envoy's own limit for what it dials is 1.2.
		TlsParams:     &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		AlpnProtocols: []string{"h2"},
	}}
	named := &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san(name)}}
	if s.CASecret == "" {
		named.TrustedCa = file(s.CA)
		if s.Mesh != "" {
			named.TrustedCa = inline(s.Mesh)
		}
		ctx.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: named}
	} else {
		ctx.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: named, ValidationContextSdsSecretConfig: fromFile(caSecretName, s.CASecret),
			},
		}
	}
	if _, err := netip.ParseAddr(name); err != nil { // an address is no server name
		ctx.Sni = name
	}
	switch {
	case s.Mesh != "":
		ctx.CommonTlsContext.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{fromAgent()}
	case s.Secret == "":
		ctx.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{s.certificate()}
	default:
		ctx.CommonTlsContext.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{fromFile(secretName, s.Secret)}
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(ctx)},
	}, nil
}

// fromAgent is the workload's certificate, from Istio's agent.
func fromAgent() *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: agentSecret, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: duration(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: agentCluster},
			}}},
		}},
	}}
}

// fromFile is a secret in a file of Envoy's.
func fromFile(name, path string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{Path: path}},
	}}
}

func (s TLS) certificate() *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: file(s.Cert), PrivateKey: file(s.Key)}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

// TLSSecret is the content of s.Secret: only of a certificate that it has from
// such a file does Envoy watch the files.
func TLSSecret(s TLS) (*discoveryv3.DiscoveryResponse, error) {
	if s.Cert == "" || s.Key == "" {
		return nil, errors.New("tls: a secret is made of the files of a certificate and of its key: want both")
	}
	return &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{packed(&tlsv3.Secret{
		Name: secretName, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: s.certificate()},
	})}}, nil
}

// CASecret is the content of s.CASecret, for the same reason.
func CASecret(s TLS) (*discoveryv3.DiscoveryResponse, error) {
	if s.CA == "" {
		return nil, errors.New("tls: a secret of authorities is made of their file: want it")
	}
	return &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{packed(&tlsv3.Secret{
		Name: caSecretName, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: file(s.CA)}},
	})}}, nil
}
