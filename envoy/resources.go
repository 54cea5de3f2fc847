package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resources is a rendered configuration as ADS serves it. It is not changed
// once rendered and may be shared.
type Resources struct {
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Clusters  []*clusterv3.Cluster
	Secrets   []*tlsv3.Secret // references to files, never their content
}

// Version is a hash of the content: equal configurations have equal versions.
func (r *Resources) Version() string { return hashOf(r.all()) }

func (r *Resources) all() []proto.Message {
	var out []proto.Message
	out = append(out, messages(r.Listeners)...)
	out = append(out, messages(r.Routes)...)
	out = append(out, messages(r.Clusters)...)
	return append(out, messages(r.Secrets)...)
}

func messages[M proto.Message](in []M) []proto.Message {
	out := make([]proto.Message, len(in))
	for i, m := range in {
		out[i] = m
	}
	return out
}

// hashOf is the first 16 hexadecimal digits of the SHA-256 over the messages.
func hashOf(ms []proto.Message) string {
	h := sha256.New()
	for _, m := range ms {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil { // only a message with invalid UTF-8: Validate refuses it before
			b = []byte(err.Error())
		}
		fmt.Fprintf(h, "%s %d\n", m.ProtoReflect().Descriptor().FullName(), len(b))
		_, _ = h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Validate checks every message against the constraints of Envoy's API, the
// ones packed into others too, and that no route names a cluster that does not
// exist: Envoy would take such a route and answer 503. All mistakes are
// reported at once.
func (r *Resources) Validate() error {
	var errs []error
	for _, m := range r.all() {
		errs = append(errs, validate(m)...)
	}
	have := map[string]bool{ProcessorClusterName: true, XDSClusterName: true, AnswersClusterName: true} // in the bootstrap
	for _, c := range r.Clusters {
		if have[c.GetName()] {
			errs = append(errs, fmt.Errorf("cluster %q is there twice", c.GetName()))
		}
		have[c.GetName()] = true
	}
	for _, rc := range r.Routes {
		for _, vh := range rc.GetVirtualHosts() {
			for _, rt := range vh.GetRoutes() {
				for _, name := range clustersOf(rt) {
					if !have[name] {
						errs = append(errs, fmt.Errorf("route %q names cluster %q, which does not exist", rt.GetName(), name))
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

func clustersOf(rt *routev3.Route) []string {
	action := rt.GetRoute()
	if action == nil {
		return nil
	}
	var out []string
	if name := action.GetCluster(); name != "" {
		out = append(out, name)
	}
	for _, w := range action.GetWeightedClusters().GetClusters() {
		out = append(out, w.GetName())
	}
	return append(out, clustersInTurn(action)...)
}

// validate runs ValidateAll on m and on every message packed inside it.
func validate(m proto.Message) []error {
	var errs []error
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().FullName(), err))
		}
	}
	eachAny(m.ProtoReflect(), func(a *anypb.Any) {
		inner, err := a.UnmarshalNew()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.GetTypeUrl(), err))
			return
		}
		errs = append(errs, validate(inner)...)
	})
	return errs
}

// eachAny calls f for every Any in m that is not inside another Any.
func eachAny(m protoreflect.Message, f func(*anypb.Any)) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		f(a)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Kind() == protoreflect.MessageKind {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					eachAny(v.Message(), f)
					return true
				})
			}
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i := range v.List().Len() {
				eachAny(v.List().Get(i).Message(), f)
			}
		default:
			eachAny(v.Message(), f)
		}
		return true
	})
}
