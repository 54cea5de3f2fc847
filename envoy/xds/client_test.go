package xds

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// client is a proxy over either protocol, which says only what it is told to.
type client struct {
	*lab
	node   string
	delta  bool
	stream grpc.ClientStream
	end    context.CancelFunc
	asked  map[kind][]string // state-of-the-world says it in every request
	first  bool

	mu    sync.Mutex
	got   []answer
	ended error
}

// answer is what came, of either protocol.
type answer struct {
	kind    kind
	version string
	nonce   string
	names   []string          // of the resources, sorted
	has     map[string]string // their versions; of delta only
	gone    []string
	raw     proto.Message
}

// methods are those of the services, state-of-the-world and delta.
var methods = map[string][2]string{
	aggregated:      {"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"},
	clusters.url():  {"/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters", "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters"},
	endpoints.url(): {"/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints", "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"},
	listeners.url(): {"/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners", "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners"},
	routes.url():    {"/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes", "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes"},
	secrets.url():   {"/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"},
}

// dial opens a stream of all types.
func (l *lab) dial(node string, delta bool) *client {
	return l.dialService(node, delta, aggregated, true)
}

// dialService opens a stream of one service. A client that does not read leaves
// everything in the connection.
func (l *lab) dialService(node string, delta bool, service string, reads bool) *client {
	l.Helper()
	return l.dialIn(l.ctx, node, delta, service, reads)
}

// dialFrom opens a stream of all types from a host, by its IP address.
func (l *lab) dialFrom(host, node string, delta bool) *client {
	l.Helper()
	return l.dialIn(from(l.ctx, host), node, delta, aggregated, true)
}

func (l *lab) dialIn(ctx context.Context, node string, delta bool, service string, reads bool) *client {
	l.Helper()
	method := methods[service][0]
	if delta {
		method = methods[service][1]
	}
	ctx, end := context.WithCancel(ctx)
	stream, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		l.Fatal(err)
	}
	c := &client{lab: l, node: node, delta: delta, stream: stream, end: end, asked: map[kind][]string{}, first: true}
	if reads {
		go c.read()
	}
	return c
}

func (c *client) read() {
	for c.readOne() {
	}
}

// readOne reads one answer, and reports whether the stream goes on.
func (c *client) readOne() bool {
	var m proto.Message = &discoveryv3.DiscoveryResponse{}
	if c.delta {
		m = &discoveryv3.DeltaDiscoveryResponse{}
	}
	err := c.stream.RecvMsg(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.ended = err
		return false
	}
	c.got = append(c.got, answerOf(m))
	return true
}

func answerOf(m proto.Message) answer {
	a := answer{raw: m}
	switch m := m.(type) {
	case *discoveryv3.DiscoveryResponse:
		a.kind, _ = kindOf(m.GetTypeUrl())
		a.version, a.nonce = m.GetVersionInfo(), m.GetNonce()
		for _, r := range m.GetResources() {
			inner, err := r.UnmarshalNew()
			if err != nil {
				panic(err)
			}
			a.names = append(a.names, cachev3.GetResourceName(inner))
		}
	case *discoveryv3.DeltaDiscoveryResponse:
		a.kind, _ = kindOf(m.GetTypeUrl())
		a.version, a.nonce, a.gone, a.has = m.GetSystemVersionInfo(), m.GetNonce(), m.GetRemovedResources(), map[string]string{}
		for _, r := range m.GetResources() {
			a.names = append(a.names, r.GetName())
			a.has[r.GetName()] = r.GetVersion()
		}
	}
	slices.Sort(a.names)
	return a
}

// message is a request of either protocol.
type message struct {
	kind    kind
	typeURL string // instead of kind
	names   []string
	dropped []string
	has     map[string]string
	version string
	nonce   string
	refusal string
}

func (c *client) send(m message) {
	c.Helper()
	var node *corev3.Node
	if c.first {
		node = &corev3.Node{Id: c.node}
	}
	c.first = false
	if m.typeURL == "" {
		m.typeURL = m.kind.url()
	}
	var refusal *rpcstatus.Status
	if m.refusal != "" {
		refusal = &rpcstatus.Status{Code: 13, Message: m.refusal}
	}
	var out proto.Message = &discoveryv3.DiscoveryRequest{
		Node: node, TypeUrl: m.typeURL, ResourceNames: m.names, VersionInfo: m.version, ResponseNonce: m.nonce, ErrorDetail: refusal,
	}
	if c.delta {
		out = &discoveryv3.DeltaDiscoveryRequest{
			Node: node, TypeUrl: m.typeURL, ResourceNamesSubscribe: m.names, ResourceNamesUnsubscribe: m.dropped,
			InitialResourceVersions: m.has, ResponseNonce: m.nonce, ErrorDetail: refusal,
		}
	}
	if err := c.stream.SendMsg(out); err != nil && err != io.EOF { // EOF: it has ended, and read says why
		c.Fatal(err)
	}
	synctest.Wait()
}

// ask subscribes; no names are all, of clusters and listeners.
func (c *client) ask(k kind, names ...string) {
	c.Helper()
	c.asked[k] = names
	c.send(message{kind: k, names: names})
}

// next is the one answer that has come; it must be of kind k.
func (c *client) next(k kind) answer {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.got) != 1 || c.got[0].kind != k {
		c.Fatalf("%s got %s, want one answer of %s", c.node, c.summary(), k)
	}
	a := c.got[0]
	c.got = nil
	return a
}

// nothing fails where anything has come.
func (c *client) nothing(why string) {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.got) > 0 {
		c.Fatalf("%s got %s, want nothing: %s", c.node, c.summary(), why)
	}
}

func (c *client) summary() string {
	var b strings.Builder
	for _, a := range c.got {
		b.WriteString("[" + a.kind.String() + ": " + strings.Join(a.names, " ") + " -" + strings.Join(a.gone, " ") + "]")
	}
	if c.ended != nil {
		b.WriteString(" and the end: " + c.ended.Error())
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}

func (c *client) ack(a answer) {
	c.Helper()
	m := message{kind: a.kind, nonce: a.nonce}
	if !c.delta {
		m.version, m.names = a.version, c.asked[a.kind]
	}
	c.send(m)
}

// nack refuses a; had is the version that a state-of-the-world proxy goes on
// with.
func (c *client) nack(a answer, had, why string) {
	c.Helper()
	m := message{kind: a.kind, nonce: a.nonce, refusal: why}
	if !c.delta {
		m.version, m.names = had, c.asked[a.kind]
	}
	c.send(m)
}

// take accepts the one answer that has come, and returns it.
func (c *client) take(k kind) answer {
	c.Helper()
	a := c.next(k)
	c.ack(a)
	return a
}

// settle subscribes as Envoy does and accepts everything.
func (c *client) settle() {
	c.Helper()
	c.ask(clusters)
	c.take(clusters)
	c.ask(listeners)
	c.take(listeners)
	c.ask(routes, "safestate")
	c.take(routes)
	c.nothing("it has everything")
}

// end of the stream, as the client learns of it.
func (c *client) closed() error {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// leave ends the stream, and waits until the Server knows.
func (c *client) leave() {
	c.end()
	synctest.Wait()
}

// sendRaw sends a first request of a type as it stands.
func (c *client) sendRaw(typeURL string) {
	c.Helper()
	var out proto.Message = &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: c.node}, TypeUrl: typeURL}
	if c.delta {
		out = &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: c.node}, TypeUrl: typeURL}
	}
	c.first = false
	if err := c.stream.SendMsg(out); err != nil {
		c.Fatal(err)
	}
	synctest.Wait()
}
