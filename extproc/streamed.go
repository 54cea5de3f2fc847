package extproc

import (
	"strconv"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/ladder"
)

// The replies of a duplex route. Envoy waits for none of them: the reply to
// the headers goes out when the answer is decided, each piece of the body is
// sent back or replaced, and a piece marked as the last ends the caller's
// stream and the model's.

// beginning makes the reply to the response's headers: tags are written, names
// in strip are removed. status 0 keeps the model's.
func beginning(status int, tags []ladder.Header, strip []string) *reply {
	set := setHeaders(tags)
	if status != 0 {
		set = append(set, option(":status", strconv.Itoa(status)))
	}
	return dynamic(&message{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{
		Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: set, RemoveHeaders: strip}},
	}}})
}

// Field numbers of ProcessingResponse.response_body, BodyResponse.response,
// CommonResponse.body_mutation, BodyMutation.streamed_response and
// StreamedBodyResponse, of envoy/service/ext_proc/v3/external_processor.proto.
const (
	fieldResponseBody     = 4
	fieldResponse         = 1
	fieldBodyMutation     = 3
	fieldStreamedResponse = 3
	fieldBody             = 1
	fieldEndOfStream      = 2
)

// piece makes the reply that sends one piece of a body to the caller; last
// ends the answer. Every token of a stream takes one, so that it is written
// here and not by reflection; a test compares the two.
func piece(body []byte, last bool) *reply {
	var head [48]byte
	size := 0
	if len(body) > 0 {
		size += 1 + protowire.SizeBytes(len(body))
	}
	if last {
		size += 2
	}
	mutation := 1 + protowire.SizeBytes(size)
	common := 1 + protowire.SizeBytes(mutation)
	response := 1 + protowire.SizeBytes(common)
	b := protowire.AppendTag(head[:0], fieldResponseBody, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(response))
	b = protowire.AppendTag(b, fieldResponse, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(common))
	b = protowire.AppendTag(b, fieldBodyMutation, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(mutation))
	b = protowire.AppendTag(b, fieldStreamedResponse, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	wire := make([]byte, 0, len(b)+size)
	wire = append(wire, b...)
	if len(body) > 0 {
		wire = protowire.AppendTag(wire, fieldBody, protowire.BytesType)
		wire = protowire.AppendBytes(wire, body)
	}
	if last {
		wire = protowire.AppendTag(wire, fieldEndOfStream, protowire.VarintType)
		wire = protowire.AppendVarint(wire, 1)
	}
	return &reply{wire: wire}
}

// ending makes the reply to the trailers: set is written, strip removed.
func ending(set []ladder.Header, strip []string) *reply {
	return dynamic(&message{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{
		HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: setHeaders(set), RemoveHeaders: strip},
	}}})
}

// trailersOf reads a message's trailers as headers.
func trailersOf(t *extprocv3.HttpTrailers) headers {
	return headers{list: t.GetTrailers().GetHeaders()}
}

// reroute makes the reply upon which Envoy looks for the request's route again,
// with the headers that it is told.
func reroute(at phase, told []ladder.Header) *reply {
	return continued(at, &extprocv3.CommonResponse{
		HeaderMutation:  &extprocv3.HeaderMutation{SetHeaders: setHeaders(told)},
		ClearRouteCache: true,
	})
}

// messageBehindHeaders makes the reply that puts a message, and status OK, in
// the place of an answer that has none. The route writes the trailers from the
// two headers.
func messageBehindHeaders(tags []ladder.Header, strip []string, frame []byte) *reply {
	return dynamic(&message{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{
		Response: &extprocv3.CommonResponse{
			Status:         extprocv3.CommonResponse_CONTINUE_AND_REPLACE,
			HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: setHeaders(tags), RemoveHeaders: strip},
			BodyMutation:   &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: frame}},
		},
	}}})
}
