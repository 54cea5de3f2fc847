package extproc

import (
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/policy"
)

// What Envoy is told of a verdict, in the request's metadata, so that its access log
// knows what has been counted when the model breaks off the rest of an answer. It
// goes with the reply that carries out the verdict: Envoy has both or none.

// told is the metadata of a verdict.
func told(verdict string, more map[string]*structpb.Value) *structpb.Struct {
	fields := map[string]*structpb.Value{policy.MetadataVerdict: structpb.NewStringValue(verdict)}
	for k, v := range more {
		fields[k] = v
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		policy.MetadataNamespace: structpb.NewStructValue(&structpb.Struct{Fields: fields}),
	}}
}

// toldCounted is what Envoy is told of an answer that has been counted, or that is none
// to count.
var toldCounted = told(policy.VerdictCounted, nil)

// done marks a message that was made for one request, or once for all.
func done(m *message) *message {
	m.DynamicMetadata = toldCounted
	return m
}

// toldSeen is what Envoy is told, on a route where the WASM filter looks at what the
// processor leaves, of an answer that is none of the filter's: it is judged here as it
// comes, or passes unread.
var toldSeen = told(policy.VerdictSeen, nil)

// Replies that let an answer go on, with that word.
var (
	seenResponseHeaders  = static(seen(&message{Response: continueResponseHeaders.message.Response}))
	seenResponseBody     = static(seen(&message{Response: continueResponseBody.message.Response}))
	seenSkipResponseBody = static(seen(&message{Response: skipResponseBody.message.Response, ModeOverride: skipResponseBody.message.ModeOverride}))
)

// seen marks a message as done does.
func seen(m *message) *message {
	m.DynamicMetadata = toldSeen
	return m
}

// worded adds the word to a reply that was made for one request: one that answers, or
// lets an answer out. A reply to response headers is final where it has one already;
// else the answer's body follows, and is judged as it comes.
func worded(r *reply) *reply {
	if r.wire != nil || r.message.DynamicMetadata != nil {
		return r
	}
	switch r.message.Response.(type) {
	case *extprocv3.ProcessingResponse_ImmediateResponse, *extprocv3.ProcessingResponse_ResponseBody:
		done(r.message)
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		seen(r.message)
	}
	return r
}

// fieldDynamicMetadata is the number of ProcessingResponse.dynamic_metadata.
const fieldDynamicMetadata = 8

// with adds metadata to a reply that is serialized already.
func (r *reply) with(metadata *structpb.Struct) *reply {
	text, err := proto.Marshal(metadata)
	if err != nil {
		return r // only invalid UTF-8 fails, and none is in it
	}
	wire := protowire.AppendTag(r.wire[:len(r.wire):len(r.wire)], fieldDynamicMetadata, protowire.BytesType)
	return &reply{wire: protowire.AppendBytes(wire, text)}
}

// toldClean is what Envoy is told of a stream that is clean up to its end mark.
func (e *exchange) toldClean() *structpb.Struct {
	verdict := policy.VerdictClean
	if e.observed {
		verdict = policy.VerdictObserved
	}
	took := float64(e.answered.Sub(e.asked).Milliseconds())
	return told(verdict, map[string]*structpb.Value{policy.MetadataTook: structpb.NewNumberValue(took)})
}
