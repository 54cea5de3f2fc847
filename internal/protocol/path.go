package protocol

import (
	"strings"

	"github.com/safestate/safestate/internal/policy"
)

// RenamePath returns path with the served name in it replaced, and with the
// part that picks a version (or a label) taken out: another model has other
// versions. A path that names no model, as of MLflow and JSON, is returned as
// it is. The query stays.
func RenamePath(p policy.Protocol, path, name string) string {
	path, query := splitQuery(path)
	switch p {
	case policy.OpenInferenceV2:
		head, _, ok := cutLast(path, "/v2/models/")
		if ok && name != "" {
			return head + "/v2/models/" + name + "/infer" + query
		}
	case policy.OpenInferenceV1, policy.TensorFlowServing:
		head, rest, ok := cutLast(path, "/v1/models/")
		if ok && name != "" {
			return head + "/v1/models/" + name + verb(rest) + query
		}
	}
	return path + query
}

// verb returns the last ":verb" of a path, its colon escaped or not.
func verb(rest string) string {
	if i := strings.LastIndex(rest, ":"); i >= 0 {
		return rest[i:]
	}
	if i := strings.LastIndex(strings.ToLower(rest), "%3a"); i >= 0 {
		return rest[i:]
	}
	return ""
}

func splitQuery(path string) (before, query string) {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
