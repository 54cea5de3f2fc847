package envoy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
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
	// Endpoints are those of clusters of type EDS, which fetch them by name.
	Endpoints []*endpointv3.ClusterLoadAssignment
	// Runtimes are what processors that run apart ask for by name: nothing here
	// renders them, and no proxy that we configure asks for them.
	Runtimes []*runtimev3.Runtime
	// Proxyless is what clients without a proxy ask for by name, and what a
	// proxy that asks for everything is not given. nil: nothing.
	Proxyless *Proxyless
}

// Version is a hash of the content: equal configurations have equal versions.
func (r *Resources) Version() string { return hashOf(r.all()) }

func (r *Resources) all() []proto.Message {
	var out []proto.Message
	out = append(out, messages(r.Listeners)...)
	out = append(out, messages(r.Routes)...)
	out = append(out, messages(r.Clusters)...)
	out = append(out, messages(r.Secrets)...)
	out = append(out, messages(r.Endpoints)...)
	out = append(out, messages(r.Runtimes)...)
	if p := r.Proxyless; p != nil {
		out = append(out, messages(p.Listeners)...)
		out = append(out, messages(p.Routes)...)
		out = append(out, messages(p.Clusters)...)
		out = append(out, messages(p.Endpoints)...)
	}
	return out
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
	return errors.Join(append(errs, r.ValidateReferences())...)
}

// ValidateMessage is Validate for one resource by itself.
func ValidateMessage(m proto.Message) error { return errors.Join(validate(m)...) }

// ValidateReferences is what Validate checks of resources together.
func (r *Resources) ValidateReferences() error {
	var errs []error
	errs = append(errs, r.validateEndpoints()...)
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

// validateEndpoints checks that each list of endpoints is of one cluster, which
// exists.
func (r *Resources) validateEndpoints() (errs []error) {
	wanted := map[string]bool{}
	for _, c := range r.Clusters {
		if c.GetType() == clusterv3.Cluster_EDS {
			wanted[cmp.Or(c.GetEdsClusterConfig().GetServiceName(), c.GetName())] = true
		}
	}
	seen := map[string]bool{}
	for _, e := range r.Endpoints {
		name := e.GetClusterName()
		switch {
		case seen[name]:
			errs = append(errs, fmt.Errorf("the endpoints of %q are there twice", name))
		case !wanted[name]:
			errs = append(errs, fmt.Errorf("endpoints are given for %q, which no cluster of type EDS asks for", name))
		}
		seen[name] = true
	}
	return errs
}

// NamedClusters are the clusters that routes name, sorted, those of the
// bootstrap among them.
func (r *Resources) NamedClusters() []string {
	named := map[string]bool{}
	for _, rc := range r.Routes {
		for _, vh := range rc.GetVirtualHosts() {
			for _, rt := range vh.GetRoutes() {
				for _, name := range clustersOf(rt) {
					named[name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(named))
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
		if a.GetTypeUrl() != "" { // an empty one says that there is nothing more to say
			f(a)
		}
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
