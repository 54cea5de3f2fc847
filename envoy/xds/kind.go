package xds

import (
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// kind is a type of resource. Their order is the order in which a proxy needs
// them.
type kind int

const (
	clusters kind = iota
	endpoints
	listeners
	routes
	secrets
	// runtimes are outside of that order: processors that run apart are told by them
	// what to enforce, and need nothing else.
	runtimes
	kinds
)

var typeURLs = [kinds]string{
	clusters:  resourcev3.ClusterType,
	endpoints: resourcev3.EndpointType,
	listeners: resourcev3.ListenerType,
	routes:    resourcev3.RouteType,
	secrets:   resourcev3.SecretType,
	runtimes:  resourcev3.RuntimeType,
}

func (k kind) url() string { return typeURLs[k] }

// String is the kind in a sentence.
func (k kind) String() string {
	return [kinds]string{"clusters", "endpoints", "listeners", "routes", "secrets", "runtimes"}[k]
}

// whole reports whether a state-of-the-world answer of this kind says by its
// silence that a resource is gone. Of the others a proxy is told what there is.
func (k kind) whole() bool { return k == clusters || k == listeners }

// kindOf finds the kind that a request names; ok is false where it is none of
// ours.
func kindOf(typeURL string) (k kind, ok bool) {
	for k, url := range typeURLs {
		if url == typeURL {
			return kind(k), true
		}
	}
	return 0, false
}
