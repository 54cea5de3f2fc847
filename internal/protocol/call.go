package protocol

import (
	"strings"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
)

// Inference reports whether a request asks for a prediction, going by its
// method and its path (with or without a query). What is no inference
// (metadata, health, readiness, a repository call, a CORS preflight) has no
// answer to judge and is left alone.
//
// Only the end of the path counts: routes add prefixes. The protocols ask by
// POST, but a server that answers a PUT to the same path answers it with a
// prediction, so of the methods only those count that cannot have one. gRPC has
// no other method than POST.
func Inference(p policy.Protocol, method, path string) bool {
	if method == "HEAD" || method == "OPTIONS" || method == "TRACE" || method == "CONNECT" {
		return false
	}
	path = cleanPath(path)
	switch p {
	case policy.OpenInferenceV2:
		return strings.HasSuffix(path, "/infer")
	case policy.OpenInferenceV1:
		return hasVerb(path, "predict")
	case policy.TensorFlowServing:
		return hasVerb(path, "predict") || hasVerb(path, "classify") || hasVerb(path, "regress")
	case policy.MLflow:
		return strings.HasSuffix(path, "/invocations")
	case policy.OpenAI:
		return chat.Inference(path)
	case policy.JSON:
		return true
	case policy.OpenInferenceGRPC:
		return grpcInference(method, path)
	default:
		return false
	}
}

// cleanPath drops the query, the fragment and slashes at the end: FastAPI and
// Starlette take /invocations/ for /invocations.
func cleanPath(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	return strings.TrimRight(path, "/")
}

// hasVerb reports whether path ends in ":verb", the colon escaped or not.
func hasVerb(path, verb string) bool {
	rest, ok := strings.CutSuffix(path, verb)
	if !ok {
		return false
	}
	return strings.HasSuffix(rest, ":") || len(rest) >= 3 && strings.EqualFold(rest[len(rest)-3:], "%3a")
}
