package policy

import (
	"crypto/sha256"
	"encoding/hex"
)

// MetadataNamespace is the key under which a route's metadata carries
// safestate's fields, and the namespace of the dynamic metadata that the
// processor writes on every response it has judged.
const MetadataNamespace = "safestate"

// Keys inside MetadataNamespace of a route's metadata.
const (
	MetadataPolicy        = "policy"         // the compiled policy, a JSON string
	MetadataDefaultBody   = "default_body"   // the last rung's body, static
	MetadataDefaultStatus = "default_status" // the last rung's status, a string such as "200"
	MetadataDefaultType   = "default_type"   // the last rung's content-type
	MetadataGeneration    = "generation"     // how many releases the policy's model has had, a decimal number as a string; absent: none
)

// Attributes of Envoy's that the processor is sent: the policy, the generation
// of the route's weights, the version that was chosen, the proxy, who asks, and
// why an answer is what it is. Never ask for the whole xds.node: it is 82 KB a
// request.
const (
	AttributePolicy      = "xds.route_metadata.filter_metadata['" + MetadataNamespace + "']['" + MetadataPolicy + "']"
	AttributeGeneration  = "xds.route_metadata.filter_metadata['" + MetadataNamespace + "']['" + MetadataGeneration + "']"
	AttributeCluster     = "xds.cluster_name"
	AttributeNode        = "xds.node.id"
	AttributeSource      = "source.address" // with the port
	AttributeCodeDetails = "response.code_details"
)

// What Envoy tells the processor of afterwards, by its access log service: an
// answer that the model broke off behind its headers.
const (
	LogCutAnswers = "safestate.cut"
	DetailsCut    = "upstream_reset_after_response_started" // begins the response code details
)

// Headers by which Envoy asks the ladder's own upstream for an answer. Callers'
// copies are stripped at the edge.
const (
	// HeaderAnswer sends a request there: the reason that nothing else answers.
	HeaderAnswer = "x-safestate-answer"
	// HeaderDigest names the route's policy: Digest of its text.
	HeaderDigest = "x-safestate-policy"
	// HeaderCluster names the version that was asked, or would have been, by
	// its Envoy cluster: a key of Policy.Versions.
	HeaderCluster = "x-safestate-cluster"
	// HeaderAuthorization is what the caller's authorization was, behind a "=",
	// where a version has credentials of its own.
	HeaderAuthorization = "x-safestate-authorization"
	// HeaderUnanswered on a gRPC error says that the last rung is to answer: why
	// nothing else did.
	HeaderUnanswered = "x-safestate-unanswered"
	// HeaderGRPCStatus and HeaderGRPCMessage on an answer become its trailers.
	HeaderGRPCStatus  = "x-safestate-grpc-status"
	HeaderGRPCMessage = "x-safestate-grpc-message"
)

// Digest names a compiled policy: the sha256 of its text in lower-case hex.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
