package fallback

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

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
// the caller's, with its query.
func pathOf(cfg *policy.Fallback, asked string) (*url.URL, error) {
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
	default:
		return nil, fmt.Errorf("fallback: protocol %q is not asked over HTTP", cfg.Protocol)
	}
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
