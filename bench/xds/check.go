package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// response is what a client reads of a discovery response of either protocol.
// Its texts are of the message that it was read from.
type response struct {
	typeURL, nonce []byte
	version        []byte // of the response, where its protocol has one for all resources
	versions       uint64 // hash of those of the resources, in any order
	resources      int
	removed        int
	weights        []weight // of every weighted route, in order
	clusters       []cluster
}

// cluster is one version of a model as proxies know it.
type cluster struct {
	name      []byte
	endpoints int // localities of them
}

// weight is one version's share of one route.
type weight struct {
	cluster []byte
	share   uint64
}

// fields goes over the fields of a message.
type fields struct {
	rest   []byte
	number protowire.Number
	value  []byte // of a text, or a message inside
	scalar uint64 // of a number
	err    error
}

// next is false at the end, and where err is set.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.err != nil {
		return false
	}
	number, kind, n := protowire.ConsumeTag(f.rest)
	if n < 0 {
		f.err = protowire.ParseError(n)
		return false
	}
	f.rest, f.number, f.value = f.rest[n:], number, nil
	switch kind {
	case protowire.BytesType:
		f.value, n = protowire.ConsumeBytes(f.rest)
	case protowire.VarintType:
		f.scalar, n = protowire.ConsumeVarint(f.rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, f.rest)
	}
	if n < 0 {
		f.err = protowire.ParseError(n)
		return false
	}
	f.rest = f.rest[n:]
	return true
}

// read decodes a response into r: a DeltaDiscoveryResponse, or a
// DiscoveryResponse, whose resources are bare. Reading the wire costs a client
// what it costs a proxy in C++; building Go objects of it would cost many times
// the server.
func (r *response) read(b []byte, delta bool) error {
	*r = response{weights: r.weights[:0], clusters: r.clusters[:0]}
	f := fields{rest: b}
	for f.next() {
		switch f.number {
		case 1: // system_version_info, version_info
			if !delta {
				r.version = f.value
			}
		case 2: // resources
			r.resources++
			body := f.value
			if delta {
				var err error
				if body, err = r.named(f.value); err != nil {
					return err
				}
			}
			if err := r.body(body); err != nil {
				return err
			}
		case 4:
			r.typeURL = f.value
		case 5:
			r.nonce = f.value
		case 6: // removed_resources
			r.removed++
		}
	}
	return f.err
}

// named reads a Resource and returns what it wraps.
func (r *response) named(b []byte) (body []byte, err error) {
	var name, version []byte
	f := fields{rest: b}
	for f.next() {
		switch f.number {
		case 1:
			version = f.value
		case 2: // resource
			body = f.value
		case 3:
			name = f.value
		}
	}
	if len(name) == 0 || len(version) == 0 {
		return nil, fmt.Errorf("a resource has the name %q and the version %q", name, version)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(name)
	_, _ = sum.Write([]byte{0})
	_, _ = sum.Write(version)
	r.versions += sum.Sum64()
	return body, f.err
}

// told is the version that a client was told.
func (r *response) told() string {
	if len(r.version) > 0 {
		return string(r.version)
	}
	return strconv.FormatUint(r.versions, 16)
}

// body reads one resource, packed into an Any.
func (r *response) body(b []byte) error {
	var typeURL []byte
	for f := (fields{rest: b}); f.next(); {
		switch {
		case f.number == 1:
			typeURL = f.value
		case f.number == 2 && string(typeURL) == routeType:
			return r.routes(f.value, 2, 3, 2, 3, 1) // virtual_hosts, routes, route, weighted_clusters, clusters
		case f.number == 2 && string(typeURL) == clusterType:
			return r.cluster(f.value)
		}
	}
	return nil
}

func (r *response) cluster(b []byte) error {
	var c cluster
	f := fields{rest: b}
	for f.next() {
		switch f.number {
		case 1: // name
			c.name = f.value
		case 33: // load_assignment
			endpoints := fields{rest: f.value}
			for endpoints.next() {
				if endpoints.number == 2 {
					c.endpoints++
				}
			}
		}
	}
	r.clusters = append(r.clusters, c)
	return f.err
}

// routes goes down a path of field numbers to the weights.
func (r *response) routes(b []byte, path ...protowire.Number) error {
	if len(path) == 0 {
		return r.weight(b)
	}
	f := fields{rest: b}
	for f.next() {
		if f.number == path[0] {
			if err := r.routes(f.value, path[1:]...); err != nil {
				return err
			}
		}
	}
	return f.err
}

func (r *response) weight(b []byte) error {
	var w weight
	f := fields{rest: b}
	for f.next() {
		switch f.number {
		case 1: // name
			w.cluster = f.value
		case 2: // weight, a UInt32Value
			value := fields{rest: f.value}
			for value.next() {
				w.share = value.scalar
			}
			if value.err != nil {
				return errors.New("a weight is no number")
			}
		}
	}
	r.weights = append(r.weights, w)
	return f.err
}

// flippedModel begins the names of the first model's clusters, newer ends that
// of every second version.
var flippedModel, newer = []byte("default/" + modelName(0) + "/"), []byte("/v2")

// checkWeights holds every weight of a response against what the flip makes it.
func checkWeights(r *response, models, flip int) error {
	if r.resources != 1 || r.removed != 0 {
		return fmt.Errorf("flip %d: %d route configurations, %d removed", flip, r.resources, r.removed)
	}
	// Each model has a route for predictions and one for all other calls, each
	// with two versions.
	if len(r.weights) != 4*models {
		return fmt.Errorf("flip %d: %d weights, want %d", flip, len(r.weights), 4*models)
	}
	share, flipped := uint64(shareOf(flip)), 0
	for _, w := range r.weights {
		var want uint64
		ofFirst, second := bytes.HasPrefix(w.cluster, flippedModel), bytes.HasSuffix(w.cluster, newer)
		if ofFirst {
			flipped++
		}
		switch {
		case ofFirst && second:
			want = share
		case ofFirst:
			want = 100 - share
		case !second:
			want = 100
		}
		if w.share != want {
			return fmt.Errorf("flip %d: %s has weight %d, want %d", flip, w.cluster, w.share, want)
		}
	}
	if flipped != 4 {
		return fmt.Errorf("flip %d: %d weights of %s, want 4", flip, flipped, flippedModel)
	}
	return nil
}
