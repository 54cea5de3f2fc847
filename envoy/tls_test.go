package envoy

import (
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

var secured = TLS{CA: "/tls/ca.crt", Cert: "/tls/tls.crt", Key: "/tls/tls.key"}

// services are the transports to our own services; nil: plain text.
func services(t *testing.T, b *bootstrapv3.Bootstrap) map[string]*tlsv3.UpstreamTlsContext {
	t.Helper()
	out := map[string]*tlsv3.UpstreamTlsContext{}
	for _, c := range b.GetStaticResources().GetClusters() {
		if !strings.HasPrefix(c.Name, "safestate_") {
			continue
		}
		out[c.Name] = nil
		if c.TransportSocket != nil {
			ctx := &tlsv3.UpstreamTlsContext{}
			if err := c.TransportSocket.GetTypedConfig().UnmarshalTo(ctx); err != nil {
				t.Fatal(err)
			}
			out[c.Name] = ctx
		}
	}
	return out
}

// everyForm renders all that names our services.
func everyForm(t *testing.T, o Options) map[string]*bootstrapv3.Bootstrap {
	t.Helper()
	out := map[string]*bootstrapv3.Bootstrap{"fragment": fragment(t, nil, o, false), "fragment over ADS": fragment(t, nil, o, true)}
	var err error
	if out["bootstrap"], err = Bootstrap(o); err != nil {
		t.Fatal(err)
	}
	if out["static"], err = Static(everything(t), o); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTLSToOurServices: each is dialled with our certificate and held to its own
// name, in every form of the configuration.
func TestTLSToOurServices(t *testing.T) {
	o := Options{TLS: secured, Processor: "safestate.example.com:18000", Answers: "127.0.0.1:18001"}
	names := map[string]string{ProcessorClusterName: "safestate.example.com", AnswersClusterName: "127.0.0.1", XDSClusterName: "safestate.example.com"}
	for form, b := range everyForm(t, o) {
		got, want := services(t, b), 3
		if form == "static" {
			want = 2 // it has no control plane
		}
		if len(got) != want {
			t.Errorf("%s has %d services, want %d", form, len(got), want)
		}
		for service, ctx := range got {
			check := ctx.GetCommonTlsContext().GetValidationContext()
			mine := ctx.GetCommonTlsContext().GetTlsCertificates()
			if len(mine) != 1 || mine[0].CertificateChain.GetFilename() != secured.Cert || mine[0].PrivateKey.GetFilename() != secured.Key ||
				check.GetTrustedCa().GetFilename() != secured.CA || len(check.GetMatchTypedSubjectAltNames()) != 1 {
				t.Errorf("%s: %s is dialled by %v", form, service, ctx)
				continue
			}
			if name := check.MatchTypedSubjectAltNames[0].GetMatcher().GetExact(); name != names[service] {
				t.Errorf("%s: %s has to be %s, want %s", form, service, name, names[service])
			}
			if byAddress := names[service] == "127.0.0.1"; byAddress != (ctx.Sni == "") {
				t.Errorf("%s: %s is asked for by %q", form, service, ctx.Sni)
			}
		}
	}
	for form, b := range everyForm(t, Options{}) {
		for service, ctx := range services(t, b) {
			if ctx != nil {
				t.Errorf("%s: %s is dialled with TLS that nobody asked for", form, service)
			}
		}
	}
}

// TestTLSSecret: the certificate comes from the file that is printed, and Unix
// sockets have the name that is given.
func TestTLSSecret(t *testing.T) {
	o := Options{TLS: secured, Processor: "unix:/run/safestate.sock"}
	o.TLS.Secret, o.TLS.ServerName = "/tls/secret.yaml", "safestate.example.com"
	for form, b := range everyForm(t, o) {
		for service, ctx := range services(t, b) {
			common := ctx.GetCommonTlsContext()
			refs := common.GetTlsCertificateSdsSecretConfigs()
			if len(common.GetTlsCertificates()) != 0 || len(refs) != 1 || refs[0].GetSdsConfig().GetPathConfigSource().GetPath() != o.TLS.Secret || ctx.Sni != o.TLS.ServerName {
				t.Errorf("%s: %s is dialled by %v", form, service, ctx)
			}
		}
	}
	s, err := TLSSecret(o.TLS)
	if err != nil {
		t.Fatal(err)
	}
	secret := &tlsv3.Secret{}
	if err := s.Resources[0].UnmarshalTo(secret); err != nil {
		t.Fatal(err)
	}
	if secret.GetTlsCertificate().GetPrivateKey().GetFilename() != secured.Key || secret.Name != secretName || len(s.Resources) != 1 {
		t.Errorf("the file has %v", s)
	}
}

// TestCASecret: the authorities come from a file of their own, and the name is
// checked as ever.
func TestCASecret(t *testing.T) {
	o := Options{TLS: secured, Processor: "safestate.example.com:18000"}
	o.TLS.CASecret = "/tls/ca.yaml"
	for form, b := range everyForm(t, o) {
		for service, ctx := range services(t, b) {
			both := ctx.GetCommonTlsContext().GetCombinedValidationContext()
			names := both.GetDefaultValidationContext().GetMatchTypedSubjectAltNames()
			if both.GetValidationContextSdsSecretConfig().GetSdsConfig().GetPathConfigSource().GetPath() != o.TLS.CASecret ||
				both.GetDefaultValidationContext().GetTrustedCa() != nil || len(names) != 1 || names[0].GetMatcher().GetExact() == "" {
				t.Errorf("%s: %s is dialled by %v", form, service, ctx)
			}
		}
	}
	s, err := CASecret(o.TLS)
	if err != nil {
		t.Fatal(err)
	}
	secret := &tlsv3.Secret{}
	if err := s.Resources[0].UnmarshalTo(secret); err != nil {
		t.Fatal(err)
	}
	if secret.GetValidationContext().GetTrustedCa().GetFilename() != secured.CA || secret.Name != caSecretName || len(s.Resources) != 1 {
		t.Errorf("the file has %v", s)
	}
	if _, err := CASecret(TLS{Cert: "a"}); err == nil {
		t.Error("a secret without authorities")
	}
}

func TestTLSMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no key":        {Options{TLS: TLS{CA: "a", Cert: "b"}}, "all three or none"},
		"no authority":  {Options{TLS: TLS{Cert: "a", Key: "b"}}, "all three or none"},
		"a name alone":  {Options{TLS: TLS{ServerName: "a"}}, "all three or none"},
		"a nameless":    {Options{TLS: secured, Processor: "unix:/a"}, ProcessorClusterName + " is at a Unix socket"},
		"another is so": {Options{TLS: secured, Answers: "unix:/a"}, AnswersClusterName + " is at a Unix socket"},
	} {
		if _, err := Bootstrap(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if _, err := Fragment(nil, c.o, false); err == nil {
			t.Errorf("%s: a fragment is made of it", name)
		}
	}
	if _, err := TLSSecret(TLS{Cert: "a"}); err == nil {
		t.Error("a secret without a key")
	}
}
