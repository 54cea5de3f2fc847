package protocol

import (
	"strings"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
)

// HeaderLength is the header that the binary tensor extension of Open
// Inference V2 sends with a body that is not JSON alone: the length in bytes
// of the JSON that comes first.
const HeaderLength = "inference-header-content-length"

// Content types of the protocols.
const (
	TypeJSON   = "application/json"
	TypeBinary = "application/octet-stream"
)

// ContentType reports whether a successful answer may carry this content-type
// (as the header has it, parameters included). binary says that the answer
// came with HeaderLength. An absent content-type ("") is taken for JSON, as
// RFC 9110 (8.3) lets a recipient do; the body then decides. Of gRPC it is
// refused, as its clients do.
//
// A charset other than UTF-8 and its subset ASCII is refused: bytes that are
// read as UTF-8 here and as something else by the caller are two answers.
func ContentType(p policy.Protocol, value string, binary bool) bool {
	kind, params, _ := strings.Cut(value, ";")
	kind = strings.TrimSpace(kind)
	if p == policy.OpenInferenceGRPC {
		return grpcType(kind) && charset(params)
	}
	switch {
	case kind == "":
		return strings.TrimSpace(params) == ""
	case strings.EqualFold(kind, TypeJSON):
		return charset(params)
	case binary && p == policy.OpenInferenceV2:
		return strings.EqualFold(kind, TypeBinary) && charset(params)
	case p == policy.JSON:
		lower := strings.ToLower(kind)
		return strings.HasPrefix(lower, "application/") && strings.HasSuffix(lower, "+json") &&
			lower != "application/problem+json" && charset(params)
	}
	return false
}

// EventStream reports whether a content-type is that of server-sent events, as
// which a completion may come in pieces. The format knows no charset but UTF-8.
func EventStream(value string) bool {
	kind, params, _ := strings.Cut(value, ";")
	return strings.EqualFold(strings.TrimSpace(kind), chat.TypeStream) && charset(params)
}

// Charset reports whether a content-type names no charset, or UTF-8 or its
// subset ASCII. Of an absent content-type it is true.
func Charset(value string) bool {
	_, params, _ := strings.Cut(value, ";")
	return charset(params)
}

// charset reports whether the parameters of a content-type name no charset, or
// one that is UTF-8 when read as UTF-8.
func charset(params string) bool {
	for params != "" {
		var one string
		one, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(one, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "charset") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(value) {
		case "utf-8", "utf8", "us-ascii", "ascii":
		default:
			return false
		}
	}
	return true
}
