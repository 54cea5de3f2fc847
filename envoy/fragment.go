package envoy

import (
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/compile"
)

// OwnListenerName is the listener in a Fragment: the one that is the user's own.
const OwnListenerName = "yours"

// usualForms are what most defaults look like: an answer as JSON, and the error
// object of chat.
var usualForms = []rungForm{{status: 200, contentType: chat.TypeJSON}, {statusError, chat.TypeJSON, true}}

// Fragment is a bootstrap to take pieces from, for an Envoy that somebody else
// configures: it has a listener of its own, and fetches the routes (RDS) and the
// models' clusters (CDS) and nothing else, each by its own service or, with
// ads, both over one ADS stream. An Envoy takes it as it stands.
//
// What does not come over xDS then depends on the snapshot in two places: the
// listener knows a default by its status and content-type, and a gRPC default
// that is a message needs three internal listeners. A nil snapshot has the usual
// forms and no such listener.
func Fragment(s *compile.Snapshot, o Options, ads bool) (*bootstrapv3.Bootstrap, error) {
	o = o.withDefaults()
	if s == nil {
		s = &compile.Snapshot{}
	}
	how := alone
	if ads {
		how = overADS
	}
	if err := haveModule(s, o); err != nil {
		return nil, err
	}
	b, err := base(o)
	if err != nil {
		return nil, err
	}
	xds, err := serviceCluster(XDSClusterName, o.XDS, o.TLS)
	if err != nil {
		return nil, err
	}
	hop, err := fragmentHop(s, o, how)
	if err != nil {
		return nil, err
	}
	yours, err := listenerFor(OwnListenerName, s, fragmentForms(s), o, how, &routev3.RouteConfiguration{Name: RouteConfigName})
	if err != nil {
		return nil, err
	}
	b.StaticResources.Listeners = append([]*listenerv3.Listener{yours}, hop...)
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, xds)
	if len(hop) > 0 { // a static listener may name static clusters only; Envoy keeps these when CDS has them too
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, hopClusters()...)
	}
	b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{CdsConfig: how.source()}
	if ads {
		b.DynamicResources.AdsConfig = xdsService()
	}
	if len(hop) == 0 {
		b.BootstrapExtensions = nil
	}
	b.OverloadManager = nil // theirs to decide
	return checked(b)
}

func fragmentForms(s *compile.Snapshot) []rungForm {
	forms := slices.Clone(usualForms)
	for _, f := range formsOf(s) {
		if !slices.Contains(forms, f) {
			forms = append(forms, f)
		}
	}
	return forms
}

// fragmentHop are the internal listeners, where some route needs them.
func fragmentHop(s *compile.Snapshot, o Options, how delivery) ([]*listenerv3.Listener, error) {
	inner, err := innerRoutes(s, o)
	if inner == nil {
		return nil, err
	}
	return hopListeners(o, how, inner, &routev3.RouteConfiguration{Name: defaultsName}), nil
}
