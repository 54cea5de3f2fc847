package xds

import (
	"strconv"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	deltaservice "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/protobuf/proto"
)

// TestToldOnce: a push that meets a request of the same kind on its way through the
// protocol's loop does not have the loop answer twice: the word on the second
// answer would be taken for one on the first, which was refused.
func TestToldOnce(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	set := func(c config) string {
		t.Helper()
		r := c.resources()
		if err := s.Set(r, AtOnce); err != nil {
			t.Fatal(err)
		}
		return r.Version()
	}
	set(weights(1, 1))
	m := newMember(t, s, "n")
	version := set(weights(90, 10)) // the loop is told of it
	if m.told[routes] != 1 {
		t.Fatalf("told %d times of new routes", m.told[routes])
	}
	// Just then it takes a request from the connection, which asks for more.
	if _, _, err := m.bookLocked(request{typeURL: routes.url(), names: []string{"more"}}); err != nil {
		t.Fatal(err)
	}
	m.cancels[routes]()
	m.watchFor(t, routes, []string{"safestate", "more"})

	answers := m.told[routes]
	if answers != 1 {
		t.Errorf("told %d times of one change", answers)
	}
	for i := range answers {
		m.answer(routes, "answer "+strconv.Itoa(i+1))
	}
	for i := range answers {
		word := request{typeURL: routes.url(), nonce: "answer " + strconv.Itoa(i+1)}
		if i == 0 {
			word.refusal = refusalOf("no")
		}
		if _, _, err := m.bookLocked(word); err != nil {
			t.Fatal(err)
		}
	}
	if p := s.Proof(version); p.Complete() || p.Missing[0].Reason != Refused {
		t.Errorf("the routes were refused, and the proof is %+v", p)
	}

	// What came meanwhile is not lost: it goes out when there is something to say.
	m.told[routes] = 0
	m.cancels[routes]()
	m.watchFor(t, routes, []string{"safestate", "more"})
	version = set(weights(80, 20))
	m.acceptAll(t)
	if p := s.Proof(version); !p.Complete() {
		t.Errorf("the next routes were accepted, and the proof is %+v", p)
	}
}

// TestToldAnew: the loop of the other protocol drops what it was told of when it is
// asked anew, and has to be told once more.
func TestToldAnew(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	if err := s.Set(weights(1, 1).resources(), AtOnce); err != nil {
		t.Fatal(err)
	}
	m := newMember(t, s, "n")
	m.delta = false
	if err := s.Set(weights(1, 2).resources(), AtOnce); err != nil {
		t.Fatal(err)
	}
	m.cancels[routes]()
	m.watchFor(t, routes, []string{"safestate"})
	if m.told[routes] != 2 {
		t.Errorf("told %d times", m.told[routes])
	}
}

// TestProofBeforeItIsSent: what the loop was told of, and has not sent yet, is not
// accepted, whatever kind it is of.
func TestProofBeforeItIsSent(t *testing.T) {
	for k, c := range map[kind]config{
		clusters: {clusters: []string{"v1@81", "v2"}, routes: map[string]int{"v1": 1, "v2": 1}},
		routes:   weights(1, 2),
	} {
		s := New(Options{})
		defer s.Close()
		if err := s.Set(weights(1, 1).resources(), AtOnce); err != nil {
			t.Fatal(err)
		}
		m := newMember(t, s, "n")
		r := c.resources()
		if err := s.Set(r, AtOnce); err != nil {
			t.Fatal(err)
		}
		if p := s.Proof(r.Version()); p.Complete() || p.Missing[0].Reason != Held {
			t.Errorf("%s: the proof is %+v", k, p)
		}
		m.acceptAll(t)
		if p := s.Proof(r.Version()); !p.Complete() {
			t.Errorf("%s: the proof is %+v", k, p)
		}
	}
}

// said is a connection by which these requests come.
type said struct {
	deltaservice.DeltaStream
	requests []*discoveryv3.DeltaDiscoveryRequest
}

func (s *said) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	r := s.requests[0]
	s.requests = s.requests[1:]
	return r, nil
}

// TestNodeIsNotKept: the loop keeps requests as long as the stream lives, and with
// them not what else a proxy says of itself, and what it came with.
func TestNodeIsNotKept(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	c, err := s.open(identity{}, aggregated, true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	d := &deltaStream{stream: c, DeltaStream: &said{requests: []*discoveryv3.DeltaDiscoveryRequest{
		{
			Node:    &corev3.Node{Id: "n", UserAgentName: "envoy", Extensions: []*corev3.Extension{{Name: "envoy.filters.http.router"}}},
			TypeUrl: clusters.url(), InitialResourceVersions: map[string]string{"v1": "1"},
		},
		{TypeUrl: listeners.url()},
	}}}
	for _, want := range []*discoveryv3.DeltaDiscoveryRequest{{Node: nodeCalled("n"), TypeUrl: clusters.url()}, {TypeUrl: listeners.url()}} {
		if r, err := d.Recv(); err != nil || !proto.Equal(r, want) {
			t.Errorf("the loop gets %v, %v", r, err)
		}
	}
	if c.subs[clusters].known["v1"] != "1" {
		t.Error("what it came with is not known")
	}
}
