package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/safestate/safestate/envoy"
)

// resource is one resource, marshaled. It is not changed and shared by all
// streams, and by all contents that have it.
type resource struct {
	name    string
	version string // hash of its content
	wire    *discoveryv3.Resource
	// Of a cluster: the name by which it asks for its endpoints, if it does,
	// and the internal listeners that it leads to.
	assignment string
	leadsTo    []string
	// internal is set for a listener that only clusters lead to.
	internal bool
	// hidden is set for what is given to those only who ask for it by name.
	hidden bool
}

// content is what one Set gave, marshaled.
type content struct {
	version string // the Resources'
	seq     uint64 // the Sets are numbered
	sets    [kinds]*set
	// clusters are the names of all, named those that routes name, and leadsTo the
	// internal listeners that these lead to.
	clusters, named, leadsTo []string
}

// part is all of a kind; none of no content.
func (c *content) part(k kind) map[string]*resource {
	if c == nil {
		return nil
	}
	return c.sets[k].byName
}

// newContent marshals r, and refuses what r.Validate does. Resources that before
// has too are taken from there: they were checked, which is the longer part. So are
// sets in which nothing changed. It takes its time, and no lock.
func newContent(r *envoy.Resources, version string, before *content) (*content, error) {
	c := &content{version: version}
	errs := []error{r.ValidateReferences()}
	var parts [kinds]map[string]*resource
	for k := range kinds {
		parts[k] = map[string]*resource{}
		forAll, byName := lists(r, k)
		errs = append(errs, addResources(parts[k], k, false, forAll, before), addResources(parts[k], k, true, byName, before))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for k := range kinds {
		c.sets[k] = newSet(k, parts[k])
		if before != nil && before.sets[k].identity == c.sets[k].identity {
			c.sets[k] = before.sets[k]
		}
	}
	for _, cluster := range c.sets[clusters].list {
		c.clusters = append(c.clusters, cluster.name)
	}
	for _, name := range r.NamedClusters() {
		if cluster := c.part(clusters)[name]; cluster != nil { // else it is in the bootstrap
			c.named = append(c.named, name)
			c.leadsTo = append(c.leadsTo, cluster.leadsTo...)
		}
	}
	return c, nil
}

func addResources(part map[string]*resource, k kind, hidden bool, list []proto.Message, before *content) error {
	for _, m := range list {
		made, err := newResource(k, m)
		if err != nil {
			return err
		}
		if part[made.name] != nil {
			return fmt.Errorf("%s: %q is there twice", k, made.name)
		}
		made.hidden = hidden
		if old := before.part(k)[made.name]; old != nil && old.version == made.version && old.hidden == hidden {
			made = old
		} else if err := envoy.ValidateMessage(m); err != nil {
			return fmt.Errorf("%s: %q: %w", k, made.name, err)
		}
		part[made.name] = made
	}
	return nil
}

// lists are r's resources of one kind.
func lists(r *envoy.Resources, k kind) (forAll, byName []proto.Message) {
	hidden := r.Proxyless
	if hidden == nil {
		hidden = &envoy.Proxyless{}
	}
	switch k {
	case clusters:
		return messages(r.Clusters), messages(hidden.Clusters)
	case endpoints:
		return messages(r.Endpoints), messages(hidden.Endpoints)
	case listeners:
		return messages(r.Listeners), messages(hidden.Listeners)
	case routes:
		return messages(r.Routes), messages(hidden.Routes)
	case runtimes:
		return messages(r.Runtimes), nil
	}
	return messages(r.Secrets), nil
}

func messages[M proto.Message](in []M) []proto.Message {
	out := make([]proto.Message, len(in))
	for i, m := range in {
		out[i] = m
	}
	return out
}

func newResource(k kind, m proto.Message) (*resource, error) {
	name := cachev3.GetResourceName(m)
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %q: %w", k, name, err)
	}
	sum := sha256.Sum256(value)
	r := &resource{name: name, version: short(sum[:])}
	r.wire = &discoveryv3.Resource{Name: name, Version: r.version, Resource: &anypb.Any{TypeUrl: k.url(), Value: value}}
	switch m := m.(type) {
	case *clusterv3.Cluster:
		r.assignment, r.leadsTo = assignmentOf(m), listenersOf(m)
	case *listenerv3.Listener:
		r.internal = m.GetInternalListener() != nil
	}
	return r, nil
}

// short is how a hash is written in a version.
func short(sum []byte) string { return hex.EncodeToString(sum[:8]) }

func assignmentOf(c *clusterv3.Cluster) string {
	if c.GetType() != clusterv3.Cluster_EDS {
		return ""
	}
	if name := c.GetEdsClusterConfig().GetServiceName(); name != "" {
		return name
	}
	return c.GetName()
}

func listenersOf(c *clusterv3.Cluster) []string {
	var out []string
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			if name := e.GetEndpoint().GetAddress().GetEnvoyInternalAddress().GetServerListenerName(); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}
