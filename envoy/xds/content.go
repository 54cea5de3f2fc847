package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

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
	parts   [kinds]map[string]*resource
	// clusters are the names of all, named those that routes name.
	clusters, named []string
}

// part is all of a kind; none of no content.
func (c *content) part(k kind) map[string]*resource {
	if c == nil {
		return nil
	}
	return c.parts[k]
}

// newContent marshals r, and refuses what r.Validate does. Resources that before
// has too are taken from there: they were checked, which is the longer part.
func newContent(r *envoy.Resources, version string, before *content) (*content, error) {
	c := &content{version: version}
	add := func(k kind, hidden bool, list []proto.Message) error {
		for _, m := range list {
			made, err := newResource(k, m)
			if err != nil {
				return err
			}
			if c.parts[k][made.name] != nil {
				return fmt.Errorf("%s: %q is there twice", k, made.name)
			}
			made.hidden = hidden
			if old := before.part(k)[made.name]; old != nil && old.version == made.version && old.hidden == hidden {
				made = old
			} else if err := envoy.ValidateMessage(m); err != nil {
				return fmt.Errorf("%s: %q: %w", k, made.name, err)
			}
			c.parts[k][made.name] = made
		}
		return nil
	}
	errs := []error{r.ValidateReferences()}
	for k := range kinds {
		c.parts[k] = map[string]*resource{}
		forAll, byName := lists(r, k)
		errs = append(errs, add(k, false, forAll), add(k, true, byName))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for name, cluster := range c.parts[clusters] {
		if !cluster.hidden {
			c.clusters = append(c.clusters, name)
		}
	}
	for _, name := range r.NamedClusters() {
		if c.parts[clusters][name] != nil { // else it is in the bootstrap
			c.named = append(c.named, name)
		}
	}
	return c, nil
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

// set is all resources of one kind in a world. All but last and bodies stays as
// it was made.
type set struct {
	kind     kind
	version  string            // hash of names and versions in list
	identity string            // the same of all, hidden ones too
	list     []*resource       // what who asks for everything gets, by name
	versions map[string]string // of list, by name; shared, never written
	byName   map[string]*resource

	last   uint64           // the newest Set that led to it; under the Server's lock
	bodies map[string]*body // answers made of it; under the Server's lock
}

func newSet(k kind, part map[string]*resource) *set {
	s := &set{kind: k, byName: part, versions: make(map[string]string, len(part)), bodies: map[string]*body{}}
	var hidden []*resource
	for _, name := range slices.Sorted(maps.Keys(part)) {
		if r := part[name]; r.hidden {
			hidden = append(hidden, r)
		} else {
			s.list = append(s.list, r)
			s.versions[name] = r.version
		}
	}
	s.version = hashOf(s.list)
	s.identity = s.version + hashOf(hidden)
	return s
}

// hashOf is the hash of names and versions.
func hashOf(list []*resource) string {
	h := sha256.New()
	for _, r := range list {
		_, _ = io.WriteString(h, r.name+"\x00"+r.version+"\n")
	}
	return short(h.Sum(nil))
}

// hasAll reports whether all names are in s.
func (s *set) hasAll(names []string) bool {
	for _, name := range names {
		if s.byName[name] == nil {
			return false
		}
	}
	return true
}

// world is what all proxies are led to: the latest content, and what is on its
// way out. It is not changed once made.
type world struct {
	content *content
	sets    [kinds]*set
	reached []string // the internal listeners that routes lead to
}

// newWorld adds what is retired to c. A set that before has too is taken from
// there: streams know by its address that they have it.
func newWorld(c *content, retired [kinds]map[string]retirement, before *world) *world {
	w := &world{content: c}
	for k := range kinds {
		part := c.parts[k]
		if len(retired[k]) > 0 {
			part = maps.Clone(part)
			for name, old := range retired[k] {
				part[name] = old.resource
			}
		}
		s := newSet(k, part)
		if before != nil && before.sets[k].identity == s.identity {
			s = before.sets[k]
		}
		s.last = c.seq
		w.sets[k] = s
	}
	for _, name := range c.named {
		for _, listener := range c.parts[clusters][name].leadsTo {
			if w.sets[listeners].byName[listener] != nil {
				w.reached = append(w.reached, listener)
			}
		}
	}
	return w
}
