package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/envoy"
)

const (
	routeType = resourcev3.RouteType
	deltaPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	wholePath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

	connecting = 32 // clients at once
)

// clients is the process of the simulated proxies: each has a connection and a
// stream of its own, reads every response, holds every version and weight
// against what was published, and accepts it.
type clients struct {
	address string
	n       int
	delta   bool
	models  int

	mu    sync.Mutex
	flips map[int]*flipSeen
}

// flipSeen is what the clients saw of a flip.
type flipSeen struct {
	clients int
	version string
}

// nodeName is the i-th client's node id.
func nodeName(i int) string { return fmt.Sprintf("client-%05d", i) }

// runClients is the process: ADDRESS CLIENTS delta|whole MODELS. It prints a
// line for the last acceptance of each flip, the first when all are connected:
// its number, the time in ns since 1970, this process's CPU time in µs. It ends
// with its standard input.
func runClients(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("clients: want ADDRESS CLIENTS delta|whole MODELS, got %q", args)
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	models, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	c := &clients{address: args[0], n: n, delta: args[2] == "delta", models: models, flips: map[int]*flipSeen{}}
	failed := make(chan error, n)
	begin := make(chan struct{}, connecting)
	go func() {
		for i := range n {
			begin <- struct{}{}
			go func() { failed <- c.run(i, sync.OnceFunc(func() { <-begin })) }()
		}
	}()
	ended := make(chan struct{})
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
		}
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

// run is one client, until its stream ends.
func (c *clients) run(i int, connected func()) error {
	path := deltaPath
	if !c.delta {
		path = wholePath
	}
	w, err := dialWire(c.address, path)
	if err != nil {
		return err
	}
	defer func() { _ = w.conn.Close() }()
	// As Envoy asks: clusters, then listeners, then the routes they name.
	if err := w.send(c.request(i, resourcev3.ClusterType, nil, "", "")); err != nil {
		return err
	}
	next := map[string]string{resourcev3.ClusterType: resourcev3.ListenerType, resourcev3.ListenerType: routeType}
	flip := -1
	var r response
	for {
		err := w.receive(func(message []byte) error {
			if err := r.read(message, c.delta); err != nil {
				return err
			}
			typeURL := string(r.typeURL)
			if typeURL == routeType {
				flip++
				if err := c.saw(&r, flip); err != nil {
					return err
				}
			}
			if err := w.send(c.request(-1, typeURL, nil, string(r.version), string(r.nonce))); err != nil {
				return err
			}
			if typeURL == routeType {
				connected()
				c.accepted(flip)
				return nil
			}
			then, first := next[typeURL]
			if !first {
				return nil
			}
			delete(next, typeURL)
			return w.send(c.request(-1, then, names(then), "", ""))
		})
		if err != nil {
			return fmt.Errorf("%s: %w", nodeName(i), err)
		}
	}
}

func names(typeURL string) []string {
	if typeURL == routeType {
		return []string{envoy.RouteConfigName}
	}
	return nil
}

// request is a subscription, or where it has a nonce an acceptance. The node is
// named in a stream's first one only.
func (c *clients) request(node int, typeURL string, names []string, version, nonce string) []byte {
	var n *corev3.Node
	if node >= 0 {
		n = &corev3.Node{Id: nodeName(node), Cluster: "bench"}
	}
	var m proto.Message
	if c.delta {
		m = &discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: typeURL, ResourceNamesSubscribe: names, ResponseNonce: nonce}
	} else {
		if nonce != "" && typeURL == routeType {
			names = []string{envoy.RouteConfigName}
		}
		m = &discoveryv3.DiscoveryRequest{Node: n, TypeUrl: typeURL, ResourceNames: names, VersionInfo: version, ResponseNonce: nonce}
	}
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // names are valid UTF-8
	}
	return b
}

// saw checks a flip: its weights, and that all clients have the same version
// of it and no earlier one's.
func (c *clients) saw(r *response, flip int) error {
	if err := r.check(c.models, flip); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flips[flip]
	if f == nil {
		f = &flipSeen{version: string(r.version)}
		c.flips[flip] = f
	}
	if f.version != string(r.version) {
		return fmt.Errorf("flip %d has version %q here and %q elsewhere", flip, r.version, f.version)
	}
	if before := c.flips[flip-1]; before != nil && before.version == string(r.version) {
		return fmt.Errorf("flip %d has the version of the one before, %q", flip, r.version)
	}
	return nil
}

// accepted counts, and says when the last client has accepted a flip.
func (c *clients) accepted(flip int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flips[flip]
	if f.clients++; f.clients < c.n {
		return
	}
	fmt.Printf("flip %d %d %d\n", flip, time.Now().UnixNano(), cpuTime().Microseconds())
	delete(c.flips, flip-2)
}
