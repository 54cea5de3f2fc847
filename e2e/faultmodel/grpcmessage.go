package faultmodel

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The messages of inference.GRPCInferenceService, by hand: a fault may be no
// message at all. Field numbers are those of the Open Inference Protocol's
// grpc_predict_v2.proto, and of Triton's grpc_service.proto for
// ModelStreamInferResponse.
const (
	requestModel      = 1
	requestID         = 3
	requestParameters = 4
	requestInputs     = 5
	requestRaw        = 7

	responseModel   = 1
	responseVersion = 2
	responseID      = 3
	responseOutputs = 5
	responseRaw     = 6

	tensorName     = 1
	tensorDatatype = 2
	tensorShape    = 3
	tensorContents = 5

	contentsInt   = 2
	contentsFP32  = 6
	contentsFP64  = 7
	contentsBytes = 8

	streamResponse = 2
)

// grpcRequest is what a ModelInferRequest asks.
type grpcRequest struct {
	request
	model string
	typed bool // the inputs came as typed contents, so the outputs go that way
}

var errMessage = errors.New("the message cannot be read")

// fields calls f with every field of a message: v is a varint's or fixed
// number's value, b a length-delimited one's bytes.
func fields(message []byte, f func(n protowire.Number, v uint64, b []byte) error) error {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return errMessage
		}
		message = message[size:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.BytesType:
			b, size = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var small uint32
			small, size = protowire.ConsumeFixed32(message)
			v = uint64(small)
		case protowire.Fixed64Type:
			v, size = protowire.ConsumeFixed64(message)
		default:
			return errMessage
		}
		if size < 0 {
			return errMessage
		}
		message = message[size:]
		if err := f(n, v, b); err != nil {
			return err
		}
	}
	return nil
}

// input is one input tensor: rows of four features, FP32.
type input struct {
	name string
	data []float64
}

// readMessage reads a ModelInferRequest. As over REST, the features are
// parameters, or FP32 inputs in rows of four.
func readMessage(message []byte) grpcRequest {
	q := grpcRequest{}
	var inputs []input
	var raw [][]byte
	var base Features
	err := fields(message, func(n protowire.Number, _ uint64, b []byte) error {
		switch n {
		case requestModel:
			q.model = string(b)
		case requestID:
			q.id = string(b)
		case requestParameters:
			return readParameter(b, &base)
		case requestInputs:
			in, err := readInput(b)
			inputs = append(inputs, in)
			return err
		case requestRaw:
			raw = append(raw, b)
		}
		return nil
	})
	if err != nil {
		q.failure = err
		return q
	}
	q.typed = len(raw) == 0 && len(inputs) > 0
	for i, in := range inputs {
		data := in.data
		if i < len(raw) {
			data = floats(raw[i])
		}
		if len(data)%inputWidth != 0 {
			q.failure = errInput
			return q
		}
		q.rows = appendRows(q.rows, base, data)
	}
	if len(q.rows) == 0 {
		q.rows = []Features{base}
	}
	return q
}

func readInput(message []byte) (in input, err error) {
	err = fields(message, func(n protowire.Number, _ uint64, b []byte) error {
		switch n {
		case tensorName:
			in.name = string(b)
		case tensorContents:
			return fields(b, func(n protowire.Number, v uint64, packed []byte) error {
				if n != contentsFP32 {
					return nil
				}
				if packed == nil {
					in.data = append(in.data, float64(math.Float32frombits(uint32(v))))
				}
				in.data = append(in.data, floats(packed)...)
				return nil
			})
		}
		return nil
	})
	return in, err
}

// readParameter reads one entry of the parameters into the features.
func readParameter(entry []byte, f *Features) error {
	var key string
	return fields(entry, func(n protowire.Number, _ uint64, b []byte) error {
		if n == 1 {
			key = string(b)
			return nil
		}
		return fields(b, func(n protowire.Number, v uint64, text []byte) error {
			number := float64(int64(v)) // int64_param, bool_param
			if n == 4 {
				number = math.Float64frombits(v) // double_param
			}
			switch key {
			case "amount":
				f.Amount = number
			case "account_age_days":
				f.AccountAgeDays = number
			case "merchant_category":
				f.MerchantCategory = string(text)
			case "is_international":
				f.IsInternational = number != 0
			case "has_international_history":
				f.HasInternationalHistory = number != 0
			}
			return nil
		})
	})
}

// renderMessage writes an answer as a ModelInferResponse: raw bytes, or typed
// contents, which have no form for the 16-bit floats.
func renderMessage(a *answer) []byte {
	b := appendString(nil, responseModel, a.model)
	b = appendString(b, responseVersion, a.version)
	b = appendString(b, responseID, a.id)
	for _, t := range a.outputs {
		if a.typed && elementSize(t.datatype) == 2 {
			continue
		}
		out := appendString(nil, tensorName, t.name)
		out = appendString(out, tensorDatatype, t.datatype)
		var shape []byte
		for _, n := range t.shape {
			shape = protowire.AppendVarint(shape, uint64(n))
		}
		out = appendBytes(out, tensorShape, shape)
		if a.typed {
			out = appendBytes(out, tensorContents, t.contents())
		}
		b = appendBytes(b, responseOutputs, out)
	}
	if !a.typed {
		for _, t := range a.outputs {
			b = appendBytes(b, responseRaw, t.raw)
		}
	}
	return b
}

// contents is a tensor's InferTensorContents.
func (t *tensor) contents() []byte {
	switch t.datatype {
	case "FP64":
		return appendBytes(nil, contentsFP64, t.raw) // packed floats are the raw bytes
	case "INT32":
		var packed []byte
		for _, s := range t.text {
			n, err := strconv.Atoi(s)
			if err != nil {
				n = 0 // a fault's text that is no number has no form here
			}
			packed = protowire.AppendVarint(packed, uint64(n))
		}
		return appendBytes(nil, contentsInt, packed)
	case "BYTES":
		var out []byte
		for raw := t.raw; len(raw) >= 4; {
			n := int(binary.LittleEndian.Uint32(raw))
			out = appendBytes(out, contentsBytes, raw[4:4+n])
			raw = raw[4+n:]
		}
		return out
	default:
		return appendBytes(nil, contentsFP32, t.raw)
	}
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// appendString leaves an empty one out, as proto3 does.
func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendBytes(b, field, []byte(s))
}

func appendTrue(b []byte, field protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), 1)
}
