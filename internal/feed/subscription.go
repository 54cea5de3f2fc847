package feed

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxWords is the most of a refusal's words that are told, in bytes.
const maxWords = 1 << 10

// sender is the half of a stream that subscription talks by.
type sender interface {
	Send(*discoveryv3.DiscoveryRequest) error
	CloseSend() error
}

// subscription is one stream's part of the protocol: state of the world, with an
// answer to each response.
type subscription struct {
	options *Options
	names   []string // that are asked for

	mu      sync.Mutex // held to send: a good-bye comes from elsewhere
	out     sender
	left    bool
	version string // of the last answer that was taken whole
}

func newSubscription(o *Options, out sender) *subscription {
	return &subscription{options: o, out: out, names: slices.Sorted(maps.Keys(o.Take))}
}

func (s *subscription) ask() error { return s.send(&discoveryv3.DiscoveryRequest{}) }

// send fills in what every request says.
func (s *subscription) send(r *discoveryv3.DiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return nil
	}
	r.Node, r.TypeUrl = &corev3.Node{Id: s.options.Node, UserAgentName: "safestate"}, TypeURL
	r.VersionInfo, r.ResourceNames = s.version, s.names
	return s.out.Send(r)
}

// leave asks for nothing any more, and ends the stream.
func (s *subscription) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	// Where that fails the host is missed for a while, as one that broke off.
	_ = s.out.Send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: s.options.Node}, TypeUrl: TypeURL, VersionInfo: s.version})
	_ = s.out.CloseSend()
}

// take puts a response in force and answers it. An error ends the stream.
func (s *subscription) take(response *discoveryv3.DiscoveryResponse) error {
	if response.TypeUrl != TypeURL {
		return fmt.Errorf("the control plane answers with %.100q, and was asked for %s", response.TypeUrl, TypeURL)
	}
	r := &discoveryv3.DiscoveryRequest{ResponseNonce: response.Nonce}
	if err := s.enforce(response.Resources); err != nil {
		r.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: words(err)}
	} else {
		s.version = response.VersionInfo
	}
	return s.send(r)
}

// enforce takes every resource that is there, and says what is wrong with the
// others.
func (s *subscription) enforce(resources []*anypb.Any) error {
	var mistakes []error
	there := map[string]bool{}
	for _, packed := range resources {
		var r runtimev3.Runtime
		if err := packed.UnmarshalTo(&r); err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		take := s.options.Take[r.Name]
		if take == nil {
			continue
		}
		there[r.Name] = true
		if err := take(r.GetLayer().GetFields()[field].GetStringValue()); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", r.Name, err))
		}
	}
	for _, name := range s.names {
		if !there[name] {
			mistakes = append(mistakes, fmt.Errorf("there is no %s: what it said last stays", name))
		}
	}
	return errors.Join(mistakes...)
}

// words are an error's in one line.
func words(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", "; "), "?")
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}
