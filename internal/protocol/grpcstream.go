//go:build !wasip1

package protocol

import "google.golang.org/protobuf/encoding/protowire"

// The fields of ModelStreamInferResponse.
const (
	grpcStreamError    = 1
	grpcStreamResponse = 2
)

// ReadStreamed reads a serialized ModelStreamInferResponse: an error's message
// (empty: none), and the ModelInferResponse in it (nil: none), which shares the
// message's memory. A message may have both. Offsets of problems are the whole
// message's.
func ReadStreamed(message []byte) (errorMessage, response []byte, p Problem) {
	w := fieldsOfWire{b: message, end: len(message)}
	var failed, answer span
	for f := (wireField{}); w.next(&f); {
		switch f.num {
		case grpcStreamError:
			p = w.one(&f, &failed, "error_message")
		case grpcStreamResponse:
			p = w.one(&f, &answer, "infer_response")
		}
		if p.Found() {
			return nil, nil, p
		}
	}
	if w.problem.Found() {
		return nil, nil, w.problem
	}
	if p := w.validText(failed); p.Found() {
		return nil, nil, p
	}
	if answer.seen {
		response = message[answer.from:answer.to:answer.to]
	}
	return message[failed.from:failed.to:failed.to], response, Problem{}
}

// AppendStreamed appends a ModelStreamInferResponse to dst: response is a
// serialized ModelInferResponse (nil: none), errorMessage an error in UTF-8
// (empty: none).
func AppendStreamed(dst, response []byte, errorMessage string) []byte {
	if errorMessage != "" {
		dst = protowire.AppendTag(dst, grpcStreamError, protowire.BytesType)
		dst = protowire.AppendString(dst, errorMessage)
	}
	if response != nil {
		dst = protowire.AppendTag(dst, grpcStreamResponse, protowire.BytesType)
		dst = protowire.AppendBytes(dst, response)
	}
	return dst
}
