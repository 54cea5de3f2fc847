package extproc

import (
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
