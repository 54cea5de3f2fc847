package faultmodel

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
)

// maxRequest is the most that a request's body may take.
const maxRequest = 64 << 20

// request is what an inference request asks, whatever its protocol.
type request struct {
	id      string
	rows    []Features
	binary  bool // the caller wants tensors as raw bytes
	failure error
}

// v2Request is the part of an Open Inference request that the model reads. The
// features come as parameters, or as a FP32 input of
// amount, account age and the two flags, in rows of four.
type v2Request struct {
	ID         string `json:"id"`
	Parameters struct {
		Features
		BinaryOutput bool `json:"binary_data_output"`
	} `json:"parameters"`
	Inputs []struct {
		Name       string    `json:"name"`
		Datatype   string    `json:"datatype"`
		Shape      []int     `json:"shape"`
		Data       []float64 `json:"data"`
		Parameters struct {
			BinaryDataSize int `json:"binary_data_size"`
		} `json:"parameters"`
	} `json:"inputs"`
	Outputs []struct {
		Parameters struct {
			BinaryData bool `json:"binary_data"`
		} `json:"parameters"`
	} `json:"outputs"`
}

const inputWidth = 4

var errInput = errors.New("the request's inputs are not features: rows of amount, account_age_days, is_international, has_international_history")

// readRequest reads a request's body. An answer without rows is never made: a
// request that names none has one, of its parameters.
func readRequest(p Protocol, header http.Header, body []byte) request {
	switch p {
	case V1, TF:
		var q struct {
			Instances []Features `json:"instances"`
		}
		err := json.Unmarshal(body, &q)
		return request{rows: q.Instances, failure: err}
	case ML:
		var q struct {
			Records []Features `json:"dataframe_records"`
			Inputs  []Features `json:"inputs"`
		}
		err := json.Unmarshal(body, &q)
		return request{rows: append(q.Records, q.Inputs...), failure: err}
	case J:
		var q struct {
			ID string `json:"id"`
			Features
		}
		err := json.Unmarshal(body, &q)
		return request{id: q.ID, rows: []Features{q.Features}, failure: err}
	default:
		return readV2(header, body)
	}
}

func readV2(header http.Header, body []byte) request {
	head := body
	if n, err := strconv.Atoi(header.Get("Inference-Header-Content-Length")); err == nil && n >= 0 && n <= len(body) {
		head, body = body[:n], body[n:]
	} else {
		body = nil
	}
	var q v2Request
	if err := json.Unmarshal(head, &q); err != nil {
		return request{failure: err}
	}
	out := request{id: q.ID, binary: q.Parameters.BinaryOutput}
	for _, o := range q.Outputs {
		out.binary = out.binary || o.Parameters.BinaryData
	}
	for _, in := range q.Inputs {
		data := in.Data
		if size := in.Parameters.BinaryDataSize; size > 0 {
			if size > len(body) || size%4 != 0 {
				out.failure = errInput
				return out
			}
			data = floats(body[:size])
			body = body[size:]
		}
		if len(data)%inputWidth != 0 {
			out.failure = errInput
			return out
		}
		out.rows = appendRows(out.rows, q.Parameters.Features, data)
	}
	if len(out.rows) == 0 {
		out.rows = []Features{q.Parameters.Features}
	}
	return out
}

// appendRows reads rows of four features; what they do not hold is base's.
func appendRows(rows []Features, base Features, data []float64) []Features {
	for ; len(data) > 0; data = data[inputWidth:] {
		f := base
		f.Amount, f.AccountAgeDays = data[0], data[1]
		f.IsInternational, f.HasInternationalHistory = data[2] != 0, data[3] != 0
		rows = append(rows, f)
	}
	return rows
}

func floats(raw []byte) []float64 {
	out := make([]float64, len(raw)/4)
	for i := range out {
		out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
	}
	return out
}
