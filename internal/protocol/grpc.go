//go:build !wasip1

package protocol

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// GRPC says whether this build reads and writes gRPC messages, see grpcnone.go.
const GRPC = true

// The messages of inference.GRPCInferenceService, by field number. Source: the
// Open Inference Protocol's and Triton's grpc_service.proto, which agree on all
// of these, and the messages that Triton really sends.
const (
	// ModelInferRequest and ModelInferResponse begin alike.
	grpcModelName    = 1
	grpcModelVersion = 2
	grpcID           = 3
	grpcParameters   = 4 // map<string, InferParameter>
	grpcTensors      = 5 // inputs or outputs
	grpcRawOutputs   = 6 // of a response: one for each output
	grpcAsked        = 6 // of a request: the outputs that are wanted
	grpcRawInputs    = 7

	// InferInputTensor and InferOutputTensor.
	grpcTensorName       = 1
	grpcTensorDatatype   = 2
	grpcTensorShape      = 3
	grpcTensorParameters = 4
	grpcTensorContents   = 5

	// InferRequestedOutputTensor.
	grpcAskedName       = 1
	grpcAskedParameters = 2

	// InferTensorContents, one list for several datatypes each.
	grpcBoolContents   = 1
	grpcIntContents    = 2
	grpcInt64Contents  = 3
	grpcUintContents   = 4
	grpcUint64Contents = 5
	grpcFP32Contents   = 6
	grpcFP64Contents   = 7
	grpcBytesContents  = 8

	// An entry of a map, and InferParameter's choices.
	grpcEntryKey    = 1
	grpcEntryValue  = 2
	grpcParamBool   = 1
	grpcParamInt64  = 2
	grpcParamString = 3
	grpcParamDouble = 4
	grpcParamUint64 = 5
)

// Bounds on one message, far above what any model has: two bytes of protobuf
// can become sixty of JSON.
const (
	maxGRPCTensors    = 4096 // and requested outputs
	maxGRPCParameters = 1024 // in all
	maxGRPCRank       = 64   // numpy's own limit
)

// Members of the JSON that FromGRPC writes with a meaning for readers.
const (
	sizeParameter   = "binary_data_size"
	sharedParameter = "shared_memory_region"
)

// FromGRPC turns a serialized ModelInferResponse, or with request a
// ModelInferRequest, without its gRPC frame, into the form that the REST
// protocol has with the binary tensor extension: JSON, and behind it the values
// of all tensors, little-endian, typed contents and raw ones alike. Both are
// appended to the buffers that are given, and returned even where there is a
// problem, so that their room can be used again; tail is never nil.
//
// It is as strict as a reader must be whose answer others read too: a field
// that occurs twice where one counts is a Duplicate, contents in the list of
// another datatype, a value past its datatype, typed and raw contents of one
// tensor and a wrong number of raw contents are Form, text that is not UTF-8 is
// UTF8, what is no protobuf is Malformed and what ends too early Truncated.
// Whether a tensor has as many values as its shape says is left to whoever
// reads the JSON. Unknown fields are skipped; groups, which the protocol never
// had, are Malformed.
//
// The JSON is at most some six times as large as the message, 60 bytes for each
// of at most 4,096 tensors apart, and the tail eight times: a small INT64 takes
// one byte of a message. A parameter binary_data_size of a tensor's own is left
// out, because it means something to REST alone. It allocates nothing but room.
func FromGRPC(json, tail, message []byte, request bool) (jsonOut, tailOut []byte, p Problem) {
	r := grpcReader{json: json, tail: tail, b: message, request: request, list: "outputs", rawField: grpcRawOutputs}
	if request {
		r.list, r.rawField = "inputs", grpcRawInputs
	}
	if r.tail == nil {
		r.tail = []byte{}
	}
	p = r.read()
	return r.json, r.tail, p
}

// grpcReader writes one message's JSON and tail.
type grpcReader struct {
	json, tail []byte
	b          []byte // the message
	request    bool
	list       string
	rawField   protowire.Number

	name, version, id span
	tensors, raws     int // how many there are
	asked, parameters int
	budget            int          // parameters that may still be read
	raw               fieldsOfWire // where the next raw contents are
	keys              [16]span     // of a map that is being read
}

// span is a part of a message.
type span struct {
	from, to int
	seen     bool
}

func (r *grpcReader) bytes(s span) []byte { return r.b[s.from:s.to] }

func (r *grpcReader) read() Problem {
	if p := r.survey(); p.Found() {
		return p
	}
	r.raw = fieldsOfWire{b: r.b, end: len(r.b)}
	r.budget = maxGRPCParameters
	r.json = append(r.json, '{')
	r.text("model_name", r.name)
	r.text("model_version", r.version)
	r.text("id", r.id)
	if r.parameters > 0 {
		r.key("parameters")
		if _, p := r.writeParameters(fieldsOfWire{b: r.b, end: len(r.b)}, grpcParameters, false); p.Found() {
			return p
		}
		r.json = append(r.json, '}')
	}
	if p := r.writeTensors(); p.Found() {
		return p
	}
	if r.asked > 0 {
		if p := r.writeAsked(); p.Found() {
			return p
		}
	}
	r.json = append(r.json, '}')
	return Problem{}
}

// survey reads the message's own fields, and counts what it has many of.
func (r *grpcReader) survey() Problem {
	w := fieldsOfWire{b: r.b, end: len(r.b)}
	for f := (wireField{}); w.next(&f); {
		p := Problem{}
		switch {
		case f.num == grpcModelName:
			p = w.one(&f, &r.name, "model_name")
		case f.num == grpcModelVersion:
			p = w.one(&f, &r.version, "model_version")
		case f.num == grpcID:
			p = w.one(&f, &r.id, "id")
		case f.num == grpcParameters:
			p = w.many(&f, &r.parameters, maxGRPCParameters, "parameters")
		case f.num == grpcTensors:
			p = w.many(&f, &r.tensors, maxGRPCTensors, r.list)
		case f.num == r.rawField:
			p = w.many(&f, &r.raws, maxGRPCTensors, r.rawName())
		case f.num == grpcAsked && r.request:
			p = w.many(&f, &r.asked, maxGRPCTensors, "outputs")
		}
		if p.Found() {
			return p
		}
	}
	if w.problem.Found() {
		return w.problem
	}
	for _, s := range []span{r.name, r.version, r.id} {
		if p := w.validText(s); p.Found() {
			return p
		}
	}
	return Problem{}
}

func (r *grpcReader) rawName() string {
	if r.request {
		return "raw_input_contents"
	}
	return "raw_output_contents"
}

// key begins a member of the object that is open.
func (r *grpcReader) key(name string) {
	if r.json[len(r.json)-1] != '{' {
		r.json = append(r.json, ',')
	}
	r.json = append(r.json, '"')
	r.json = append(r.json, name...)
	r.json = append(r.json, `":`...)
	if name == "parameters" {
		r.json = append(r.json, '{')
	}
}

// text writes a member that is absent where it is empty, as proto3 has it.
func (r *grpcReader) text(name string, s span) {
	if s.from < s.to {
		r.key(name)
		r.json = appendText(r.json, r.bytes(s))
	}
}

// writeAsked writes the outputs that a request wants.
func (r *grpcReader) writeAsked() Problem {
	r.key("outputs")
	r.json = append(r.json, '[')
	w := fieldsOfWire{b: r.b, end: len(r.b)}
	index := 0
	for f := (wireField{}); w.next(&f); {
		if f.num != grpcAsked {
			continue
		}
		if index > 0 {
			r.json = append(r.json, ',')
		}
		if p := r.writeOneAsked(w.inside(&f)); p.Found() {
			p.Tensor, p.List = index, "outputs"
			return p
		}
		index++
	}
	r.json = append(r.json, ']')
	return w.problem
}

func (r *grpcReader) writeOneAsked(w fieldsOfWire) Problem {
	whole := w
	var name span
	parameters := 0
	for f := (wireField{}); w.next(&f); {
		p := Problem{}
		switch f.num {
		case grpcAskedName:
			p = w.one(&f, &name, "name")
		case grpcAskedParameters:
			p = w.many(&f, &parameters, maxGRPCParameters, "parameters")
		}
		if p.Found() {
			return p
		}
	}
	if w.problem.Found() {
		return w.problem
	}
	if p := w.validText(name); p.Found() {
		return p
	}
	r.json = append(r.json, `{"name":`...)
	r.json = appendText(r.json, r.bytes(name))
	if parameters > 0 {
		r.key("parameters")
		if _, p := r.writeParameters(whole, grpcAskedParameters, false); p.Found() {
			return p
		}
		r.json = append(r.json, '}')
	}
	r.json = append(r.json, '}')
	return Problem{}
}
