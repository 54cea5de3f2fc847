package fallback

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
)

var errNoServedName = errors.New("fallback: the protocol's path needs the model's served name")

// verbs are what may follow the colon of a V1 path; anything else asks for a
// prediction.
var verbs = []string{":predict", ":classify", ":regress", ":explain"}

// pathOf returns the path to ask for: the policy's own where it has one, else
// the protocol's with the fallback's served name. The version is not in it:
// each version has its own endpoints, and a server that holds several is asked
// for one by the policy's path. Protocol JSON has no path of its own and keeps
// the caller's, with its query. Chat and legacy completions are two paths of
// one OpenAI server: which of them, the caller's says.
func pathOf(cfg *policy.Fallback, asked string) (*url.URL, error) {
	if cfg.Protocol == policy.OpenAI {
		return parsePath(completionsPath(cfg.Path, chat.Legacy(asked)))
	}
	if cfg.Path != "" {
		return parsePath(cfg.Path)
	}
	name := url.PathEscape(cfg.ServedName)
	switch cfg.Protocol {
	case policy.OpenInferenceV2:
		return named(name, "/v2/models/"+name+"/infer")
	case policy.OpenInferenceV1, policy.TensorFlowServing:
		return named(name, "/v1/models/"+name+verbOf(asked))
	case policy.MLflow:
		return parsePath("/invocations")
	case policy.JSON:
		return parsePath(asked)
	case policy.OpenInferenceGRPC:
		return parsePath(grpcModelInfer)
	default:
		return nil, fmt.Errorf("fallback: no way to ask a model of protocol %q", cfg.Protocol)
	}
}

// The ends of the two paths of the OpenAI API.
const (
	chatEnd   = "/chat/completions"
	legacyEnd = "/completions"
)

// completionsPath returns the policy's path (empty: the API's own), with the
// end that the request needs. A path that ends in neither stays as it is.
func completionsPath(path string, legacy bool) string {
	if path == "" {
		path = "/v1" + chatEnd
	}
	if !chat.Inference(path) || chat.Legacy(path) == legacy {
		return path
	}
	path, query, asked := strings.Cut(path, "?")
	path = strings.TrimRight(path, "/")
	if legacy {
		path = strings.TrimSuffix(path, chatEnd) + legacyEnd
	} else {
		path = strings.TrimSuffix(path, legacyEnd) + chatEnd
	}
	if asked {
		path += "?" + query
	}
	return path
}

func named(name, path string) (*url.URL, error) {
	if name == "" {
		return nil, errNoServedName
	}
	return parsePath(path)
}

func verbOf(asked string) string {
	path, _, _ := strings.Cut(asked, "?")
	for _, v := range verbs {
		if strings.HasSuffix(path, v) {
			return v
		}
	}
	return verbs[0]
}

// parsePath reads a path as a request line has it, so that //host is a path.
func parsePath(s string) (*url.URL, error) {
	if !strings.HasPrefix(s, "/") {
		return nil, fmt.Errorf("fallback: the path %q does not begin with /", s)
	}
	return url.ParseRequestURI(s)
}
