package istio

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"

	"github.com/safestate/safestate/envoy"
)

// Options are what the objects depend on beside the snapshot. The zero value is
// ready.
type Options struct {
	// Envoy says how the proxies reach the processor and the ladder, and who signs
	// policies. The rest of it is not used: the mesh says it.
	Envoy envoy.Options
	// Clashes says of routes, by their Key, why nothing may be merged by the names
	// that istiod gives them; see Clashes.
	Clashes map[string]string
	// Alone are the routes, by their Key, whose rules' names no other rule of the mesh
	// has: they are found by it whatever a virtual host is called. Of others the domains
	// have to be the routes' own.
	Alone map[string]bool
	// Services are those of versions, by namespace/name: where their workloads are.
	Services map[string]*corev1.Service
	// RootNamespace is Istio's own, whose EnvoyFilters are for the proxies of all
	// namespaces. Default: DefaultRootNamespace.
	RootNamespace string
	// ClusterDomain ends the names of Services. Default: DefaultClusterDomain.
	ClusterDomain string
}

// Defaults of Options.
const (
	DefaultRootNamespace = "istio-system"
	DefaultClusterDomain = "cluster.local"
	DefaultProcessor     = "safestate-processor.safestate-system.svc:18000"
	DefaultAnswers       = "safestate-processor.safestate-system.svc:18001"
)

// WithDefaults fills in what is not set.
func (o Options) WithDefaults() Options {
	o.RootNamespace = cmp.Or(o.RootNamespace, DefaultRootNamespace)
	o.ClusterDomain = cmp.Or(o.ClusterDomain, DefaultClusterDomain)
	o.Envoy.Processor = cmp.Or(o.Envoy.Processor, DefaultProcessor)
	o.Envoy.Answers = cmp.Or(o.Envoy.Answers, DefaultAnswers)
	return o
}
