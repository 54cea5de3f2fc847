package faultmodel

import (
	"fmt"
	"strings"
)

// Protocol is one way to ask the model.
type Protocol uint8

// The protocols. V2B is Open Inference V2 with its binary tensor extension.
const (
	V1  Protocol = iota // Open Inference V1: POST /v1/models/NAME:predict
	V2                  // Open Inference V2: POST /v2/models/NAME[/versions/V]/infer
	V2B                 // the same path, tensors as raw bytes
	TF                  // TensorFlow Serving: POST /tf/v1/models/NAME:predict
	ML                  // MLflow: POST /mlflow/NAME/invocations
	J                   // plain JSON: POST /json/NAME/score
	OA                  // OpenAI, plain: POST …/v1/chat/completions and …/v1/completions
	SSE                 // the same with "stream": true
	G                   // Open Inference gRPC: ModelInfer, and ModelStreamInfer message by message
)

const numProtocols = 9

// Protocols lists those whose answer is one HTTP body with tensors or rows in
// it; Duplex those of chat and gRPC.
var (
	Protocols = []Protocol{V1, V2, V2B, TF, ML, J}
	Duplex    = []Protocol{OA, SSE, G}
)

var protocolNames = [numProtocols]string{"V1", "V2", "V2B", "TF", "ML", "J", "OA", "SSE", "G"}

// String returns the short name, as the catalogue of faults writes it.
func (p Protocol) String() string {
	if p >= numProtocols {
		return fmt.Sprintf("Protocol(%d)", uint8(p))
	}
	return protocolNames[p]
}

// set is a set of protocols.
type set uint16

func on(ps ...Protocol) set {
	var s set
	for _, p := range ps {
		s |= 1 << p
	}
	return s
}

func (s set) has(p Protocol) bool { return s&(1<<p) != 0 }

// The sets that the catalogue's column uses.
var (
	every      = on(V1, V2, V2B, TF, ML, J)
	scored     = on(V1, V2, V2B, TF, ML, J, G) // every one whose answer is the scorer's
	tensors    = on(V1, V2, V2B, TF, ML, G)
	textual    = on(V1, V2, TF, ML, J) // all whose numbers are JSON
	stringNaN  = on(V1, V2, J)
	rawBytes   = on(V2B, G)
	typedFloat = on(G)
	nested     = on(V1, ML, J)
	contracted = on(V1, V2, V2B, TF, G)
	named      = on(V2, V2B, G) // answers that carry an id and a model's name
)

// Path returns the inference path of a model by this protocol. The path of a
// gRPC call does not name the model.
func (p Protocol) Path(model string) string {
	switch p {
	case V1:
		return "/v1/models/" + model + ":predict"
	case TF:
		return "/tf/v1/models/" + model + ":predict"
	case ML:
		return "/mlflow/" + model + "/invocations"
	case J:
		return "/json/" + model + "/score"
	case OA, SSE:
		return "/openai/" + model + chatPath
	case G:
		return grpcService + "ModelInfer"
	default:
		return "/v2/models/" + model + "/infer"
	}
}

// target is what a path asks for.
type target struct {
	protocol Protocol // V2 for both forms: the request's own fields tell them apart
	model    string
	version  string // asked for by path; empty: the server's
	infer    bool   // an inference call, else metadata
}

// parsePath reads an inference or metadata path of Protocols. ok is false for
// any other.
func parsePath(path string) (t target, ok bool) {
	switch {
	case strings.HasPrefix(path, "/v1/models/"):
		t.protocol = V1
		t.model, t.infer = strings.CutSuffix(path[len("/v1/models/"):], ":predict")
	case strings.HasPrefix(path, "/tf/v1/models/"):
		t.protocol = TF
		t.model, t.infer = strings.CutSuffix(path[len("/tf/v1/models/"):], ":predict")
	case strings.HasPrefix(path, "/mlflow/"):
		t.protocol = ML
		t.model, t.infer = strings.CutSuffix(path[len("/mlflow/"):], "/invocations")
	case strings.HasPrefix(path, "/json/"):
		t.protocol = J
		t.model, t.infer = strings.CutSuffix(path[len("/json/"):], "/score")
	case strings.HasPrefix(path, "/v2/models/"):
		t.protocol = V2
		rest := path[len("/v2/models/"):]
		rest, t.infer = strings.CutSuffix(rest, "/infer")
		if !t.infer {
			rest = strings.TrimSuffix(rest, "/ready")
		}
		if model, version, found := strings.Cut(rest, "/versions/"); found {
			rest, t.version = model, version
		}
		t.model = rest
	default:
		return target{}, false
	}
	return t, t.model != "" && !strings.Contains(t.model, "/")
}
