// Package feed tells a processor that runs apart from the control plane what it
// has to enforce: what is killed, and whose policies to take. The processor
// subscribes like a proxy, by ADS, to resources of Envoy's own runtime type whose
// layer has one string; so the control plane's ledger knows of it what it knows of
// proxies: what it took, what it refused and why, and how long it is silent.
//
//	control plane ── ADS ──> Run ──> Enforced ──> kill.Live     (kills-enforced.json)
//	                  <─ ACK, NACK ─┘  └> Trusted ──> signing.Keys (policy-keys.pem)
//
// What was taken stays in force until a newer word comes: a control plane that is
// away, slow, hostile or set back never has a host fall back to "not killed", and
// with a data folder a restart does not either.
package feed

import (
	"strings"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// TypeURL is the type of the resources.
const TypeURL = "type.googleapis.com/envoy.service.runtime.v3.Runtime"

// The resources.
const (
	// Kills says what is killed: the JSON of kill.Set.Enforced.
	Kills = "safestate.kills"
	// PolicyKeys has the public keys of those who sign policies, in PEM; empty: nobody
	// does.
	PolicyKeys = "safestate.policy-keys"
)

// field is the one field of a resource's layer.
const field = "text"

// Resource is a resource that carries a text.
func Resource(name, text string) *runtimev3.Runtime {
	return &runtimev3.Runtime{Name: name, Layer: &structpb.Struct{Fields: map[string]*structpb.Value{field: structpb.NewStringValue(text)}}}
}

// nodePart begins the part of a node id that is the processor's.
const nodePart = "safestate-extproc/"

// maxNode is the longest node id that a control plane takes, in bytes.
const maxNode = 256

// Node is the node id of a processor. below is a name in its certificate, of which
// a control plane wants to see it; empty: there is none. A name that is too long is
// cut.
func Node(below, replica string) string {
	if below != "" {
		below += "/"
	}
	id := below + nodePart + replica
	return id[:min(len(id), maxNode)]
}

// Replica is the name of the processor in its node id; ok is false for a node that
// is none.
func Replica(node string) (name string, ok bool) {
	i := strings.LastIndex(node, nodePart)
	if i < 0 || i > 0 && node[i-1] != '/' {
		return "", false
	}
	return node[i+len(nodePart):], true
}
