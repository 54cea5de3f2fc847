package xds

import (
	"strings"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// maxBodies bounds the answers that are kept for other streams, of one set.
	// Proxies ask alike, so that a few do; where many ask for odd ones, any makes
	// room for the next, but the one with everything.
	maxBodies = 64
	// maxGone is the most bytes of names in an answer that is kept: they may be a
	// proxy's own.
	maxGone = 1 << 20
)

// nonceField is the number of nonce in both kinds of response.
const nonceField protowire.Number = 5

// body is an answer without its nonce, shared by all streams that need the
// same. Exactly one of whole and delta is set.
type body struct {
	whole *discoveryv3.DiscoveryResponse
	delta *discoveryv3.DeltaDiscoveryResponse
	put   []*resource // what it brings
	gone  []string    // what it takes away
	wire  func() ([]byte, error)
}

// deltaBody is the answer that brings put and takes gone.
func (s *set) deltaBody(put []*resource, gone []string) *body {
	build := func() *body {
		m := &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: s.version, TypeUrl: s.kind.url(), RemovedResources: gone}
		for _, r := range put {
			m.Resources = append(m.Resources, r.wire)
		}
		return &body{delta: m, put: put, gone: gone, wire: once(m)}
	}
	if len(gone) == 0 && s.isAll(put) {
		return kept(&s.all[1], build)
	}
	taken := strings.Join(gone, "\x00")
	if len(taken) > maxGone {
		return build()
	}
	return s.kept("+"+namesOf(put)+"-"+taken, build)
}

// wholeBody is the answer that has all of view.
func (s *set) wholeBody(view []*resource, version string) *body {
	build := func() *body {
		m := &discoveryv3.DiscoveryResponse{VersionInfo: version, TypeUrl: s.kind.url()}
		for _, r := range view {
			m.Resources = append(m.Resources, r.wire.GetResource())
		}
		return &body{whole: m, put: view, wire: once(m)}
	}
	if s.isAll(view) {
		return kept(&s.all[0], build)
	}
	return s.kept("="+namesOf(view), build)
}

// isAll reports whether a list is the set's own.
func (s *set) isAll(list []*resource) bool {
	return len(list) == len(s.list) && (len(list) == 0 || &list[0] == &s.list[0])
}

func (s *set) kept(key string, build func() *body) *body {
	b := s.bodies[key]
	if b == nil {
		b = build()
		makeRoom(s.bodies, maxBodies)
		s.bodies[key] = b
	}
	return b
}

func kept(b **body, build func() *body) *body {
	if *b == nil {
		*b = build()
	}
	return *b
}

// namesOf is the names in one string: with the set that they are of, they say
// which versions.
func namesOf(list []*resource) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.name)
		b.WriteByte(0)
	}
	return b.String()
}

func once(m proto.Message) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) { return proto.Marshal(m) })
}

// envelope is a body on its way to one stream. To a codec that does not know it
// it is the response itself.
type envelope struct {
	proto.Message
	body  *body
	nonce string
}

// Codec is next, but for this package's responses, which it does not marshal
// anew and copy for every stream. A gRPC server without it gives the same
// answers, at the price of that.
func Codec(next encoding.CodecV2) encoding.CodecV2 { return codec{next} }

type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	e, ok := v.(*envelope)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	wire, err := e.body.wire()
	if err != nil {
		return nil, err
	}
	nonce := protowire.AppendString(protowire.AppendTag(nil, nonceField, protowire.BytesType), e.nonce)
	return mem.BufferSlice{mem.SliceBuffer(wire), mem.SliceBuffer(nonce)}, nil
}

// protobuf is the codec that gRPC uses where it is told of none.
func protobuf() encoding.CodecV2 { return encoding.GetCodecV2(encodingproto.Name) }
