package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
)

const (
	filterHTTP   = "envoy.filters.network.http_connection_manager"
	filterRouter = "envoy.filters.http.router"
)

// baseFilter is what the proxies of an audience have whatever their routes are: our
// clusters, our filters, the last rung.
func baseFilter(s *compile.Snapshot, a *audience, o Options) (*istiov1alpha3.EnvoyFilter, error) {
	out, forMesh := newFilter(a, "safestate", PartBase), envoy.ForMesh
	switch a.context {
	case networkingv1alpha3.EnvoyFilter_SIDECAR_OUTBOUND:
		out.Name = "safestate-sidecars"
	case networkingv1alpha3.EnvoyFilter_SIDECAR_INBOUND:
		out.Name, forMesh = "safestate-models", envoy.ForMeshInbound
	}
	mesh, err := forMesh(s, o.Envoy)
	if err != nil {
		return nil, err
	}
	add := func(to networkingv1alpha3.EnvoyFilter_ApplyTo, how networkingv1alpha3.EnvoyFilter_Patch_Operation, match *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch, m proto.Message) error {
		patch, err := patchOf(how, m)
		if err != nil {
			return err
		}
		out.Spec.ConfigPatches = append(out.Spec.ConfigPatches, &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch{ApplyTo: to, Match: match, Patch: patch})
		return nil
	}
	for _, c := range mesh.Clusters {
		match := &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{Context: a.context}
		if err := add(networkingv1alpha3.EnvoyFilter_CLUSTER, networkingv1alpha3.EnvoyFilter_Patch_ADD, match, c); err != nil {
			return nil, err
		}
	}
	manager := &networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterMatch{Name: filterHTTP}
	if err := add(networkingv1alpha3.EnvoyFilter_NETWORK_FILTER, networkingv1alpha3.EnvoyFilter_Patch_MERGE, inFilter(a, manager),
		managed(mesh.Manager)); err != nil {
		return nil, err
	}
	router := &networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterMatch{
		Name: filterHTTP, SubFilter: &networkingv1alpha3.EnvoyFilter_ListenerMatch_SubFilterMatch{Name: filterRouter},
	}
	for _, f := range mesh.Filters {
		if err := add(networkingv1alpha3.EnvoyFilter_HTTP_FILTER, networkingv1alpha3.EnvoyFilter_Patch_INSERT_BEFORE, inFilter(a, router), f); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func inFilter(a *audience, f *networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterMatch) *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch {
	return &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{
		Context: a.context,
		ObjectTypes: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_Listener{Listener: &networkingv1alpha3.EnvoyFilter_ListenerMatch{
			FilterChain: &networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterChainMatch{Filter: f},
		}},
	}
}

// managed is the network filter that a connection manager's fields are merged into.
func managed(m *hcmv3.HttpConnectionManager) *listenerv3.Filter {
	config := &anypb.Any{}
	if err := anypb.MarshalFrom(config, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return &listenerv3.Filter{} // of invalid UTF-8 only, which was refused before
	}
	return &listenerv3.Filter{Name: filterHTTP, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}
}

// patchOf makes a patch of a message of Envoy's.
func patchOf(how networkingv1alpha3.EnvoyFilter_Patch_Operation, m proto.Message) (*networkingv1alpha3.EnvoyFilter_Patch, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	value := &structpb.Struct{}
	if err := protojson.Unmarshal(text, value); err != nil {
		return nil, fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return &networkingv1alpha3.EnvoyFilter_Patch{Operation: how, Value: value}, nil
}

// sumBytes of a name's hash are in it: as many as nobody finds a second one for.
const sumBytes = 10

// longestName is that of an object that is a label's value as well.
const longestName = 63

// named makes a name of parts that no other parts make: namespaces and names may have
// dashes of their own.
func named(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "/")))
	name := strings.Join(parts, "-")
	return strings.TrimRight(name[:min(len(name), longestName-2*sumBytes-1)], "-.") + "-" + hex.EncodeToString(sum[:sumBytes])
}
