//go:build !wasip1

package protocol

import "google.golang.org/protobuf/encoding/protowire"

// AskedRaw reports whether the answer to a serialized ModelInferRequest should
// have its values raw: the request has raw contents itself, or keeps its inputs
// in shared memory, as only clients do that read nothing else. Of what cannot
// be read it is false.
func AskedRaw(request []byte) bool {
	w := fieldsOfWire{b: request, end: len(request)}
	shared := false
	for f := (wireField{}); w.next(&f); {
		switch f.num {
		case grpcRawInputs:
			return true
		case grpcTensors:
			shared = shared || inSharedMemory(w.inside(&f))
		}
	}
	return shared && !w.problem.Found()
}

func inSharedMemory(w fieldsOfWire) bool {
	for f := (wireField{}); w.next(&f); {
		if f.num != grpcTensorParameters {
			continue
		}
		var key, value span
		if p := readEntry(w.inside(&f), &key, &value); !p.Found() && string(w.b[key.from:key.to]) == sharedParameter {
			return true
		}
	}
	return false
}

// RewriteGRPCModel appends a serialized ModelInferRequest to dst with another
// model_name and no model_version: versions are the other model's own. All else
// stays byte for byte. The error is a *TranscodeError for what is no such
// message, and dst is then returned as it was.
func RewriteGRPCModel(dst, message []byte, name string) ([]byte, error) {
	out := protowire.AppendTag(dst, grpcModelName, protowire.BytesType)
	out = protowire.AppendString(out, name)
	w := fieldsOfWire{b: message, end: len(message)}
	for f := (wireField{}); w.next(&f); {
		if f.num != grpcModelName && f.num != grpcModelVersion {
			out = append(out, message[f.begin:w.at]...)
		}
	}
	if w.problem.Found() {
		return dst, &TranscodeError{"request", w.problem.Kind.text()}
	}
	return out, nil
}
