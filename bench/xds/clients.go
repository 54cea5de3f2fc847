package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/envoy"
)

const (
	deltaPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	wholePath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

	connecting = 32 // clients at once
)

// clients is the process of the simulated proxies: each has a connection and a
// stream of its own, reads every response, holds every version and all that
// changes against what was published, and accepts it.
type clients struct {
	*job
	change *change
	delta  bool
	tls    *tls.Config // nil: plain text

	mu       sync.Mutex
	versions map[step]string
	accepts  map[int]int // of a change, of all its types
}

// step is what a change brings of a type.
type step struct {
	typeURL string
	n       int
}

// nodeName is the i-th client's node id.
func nodeName(i int) string { return fmt.Sprintf("client-%05d", i) }

// runClients is the process: it is told a job. It prints a line for the last
// acceptance of each change, the 0th when all are connected: its number, the time
// in ns since 1970, this process's CPU time in µs. It ends with its standard input.
func runClients(args []string) error {
	j, s, chg, err := jobOf(args)
	if err != nil {
		return err
	}
	c := &clients{job: j, change: chg, delta: s.delta, versions: map[step]string{}, accepts: map[int]int{}}
	if c.tls, err = clientTLS(j.TLS); err != nil {
		return err
	}
	failed := make(chan error, c.Clients)
	begin := make(chan struct{}, connecting)
	go func() {
		for i := range c.Clients {
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
	w, err := dialWire(c.Address, path, c.tls)
	if err != nil {
		return err
	}
	defer func() { _ = w.conn.Close() }()
	// As Envoy asks: clusters, then listeners, then the routes they name.
	w.send(c.request(i, resourcev3.ClusterType, nil, "", ""))
	next := map[string]string{resourcev3.ClusterType: resourcev3.ListenerType, resourcev3.ListenerType: routeType}
	step := map[string]int{}
	for _, t := range c.change.types {
		step[t] = -1
	}
	var r response
	for {
		err := w.receive(func(message []byte) error {
			if err := r.read(message, c.delta); err != nil {
				return err
			}
			typeURL := string(r.typeURL)
			if n, counts := step[typeURL]; counts {
				step[typeURL] = n + 1
				if err := c.saw(&r, n+1); err != nil {
					return err
				}
			}
			w.send(c.request(-1, typeURL, nil, string(r.version), string(r.nonce)))
			if n, counts := step[typeURL]; counts {
				c.accepted(n)
			}
			if typeURL == routeType {
				connected()
			}
			if then, first := next[typeURL]; first {
				delete(next, typeURL)
				w.send(c.request(-1, then, names(then), "", ""))
			}
			return nil
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

// saw checks a change, and that all clients have the same version of it and no
// earlier one's.
func (c *clients) saw(r *response, n int) error {
	if err := c.change.check(r, c.Models, n); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at, version := step{string(r.typeURL), n}, r.told()
	if _, known := c.versions[at]; !known {
		c.versions[at] = version
		delete(c.versions, step{at.typeURL, n - 2}) // all have it
	}
	if c.versions[at] != version {
		return fmt.Errorf("change %d has version %q here and %q elsewhere", n, version, c.versions[at])
	}
	if before, known := c.versions[step{at.typeURL, n - 1}]; known && before == version {
		return fmt.Errorf("change %d has the version of the one before, %q", n, version)
	}
	return nil
}

// accepted counts, and says when the last client has accepted all of a change.
func (c *clients) accepted(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accepts[n]++; c.accepts[n] < c.Clients*len(c.change.types) {
		return
	}
	fmt.Printf("change %d %d %d\n", n, time.Now().UnixNano(), cpuTime().Microseconds())
	delete(c.accepts, n)
}
