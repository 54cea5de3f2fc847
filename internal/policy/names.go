package policy

import (
	"strconv"
	"strings"
)

// MetadataNamespace is the key under which a route's metadata carries
// safestate's fields, and the namespace of the dynamic metadata that the
// processor writes on every response it has judged.
const MetadataNamespace = "safestate"

// Keys inside MetadataNamespace of a route's metadata.
const (
	MetadataPolicy        = "policy"           // the compiled policy, a JSON string
	MetadataPolicyDigest  = "policy_digest"    // Digest of the policy, where a host is to fetch its text once per content and not with every request
	MetadataSignature     = "policy_signature" // of the policy for this route, see package signing; absent: it is not signed
	MetadataDefaultBody   = "default_body"     // the last rung's body, static
	MetadataDefaultStatus = "default_status"   // the last rung's status, a string such as "200"
	MetadataDefaultType   = "default_type"     // the last rung's content-type
	MetadataGeneration    = "generation"       // how many releases the policy's model has had, a decimal number as a string; absent: none
)

// MetadataKillGeneration is one more key: the kills that concern the route, as KillsOf
// writes them; absent: none ever did.
const MetadataKillGeneration = "kill_generation"

// KillsOf writes which kills a route has: the sum of the generations of what concerns
// it, for people, and behind a dash the mark of them, which no other kills have.
func KillsOf(generation, mark uint64) string {
	return strconv.FormatUint(generation, 10) + "-" + strconv.FormatUint(mark, 16)
}

// KillMark is the mark in what KillsOf wrote; 0: there is none.
func KillMark(text string) uint64 {
	_, mark, _ := strings.Cut(text, "-")
	n, err := strconv.ParseUint(mark, 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// MetadataKilled is on a route of host WASM or Both that leads to no version because
// of a kill, and is answered in its place: what is killed, as a kill's target is
// written. The processor is told of kills in another way.
const MetadataKilled = "killed"

// AttributeKillGeneration is it as the processor is sent it.
const AttributeKillGeneration = "xds.route_metadata.filter_metadata['" + MetadataNamespace + "']['" + MetadataKillGeneration + "']"

// ClusterNone is a cluster without endpoints, and with /grpc behind it another one
// for gRPC: where a revive that ramps sends what it withholds. A request that is
// on its way there has no version.
const ClusterNone = "safestate_none"

// IsVersion reports whether a cluster is that of a version: not where Envoy has none
// for a request, and not where a ramp withholds it.
func IsVersion(cluster string) bool { return cluster != "" && !strings.HasPrefix(cluster, ClusterNone) }

// Attributes of Envoy's that the processor is sent: the policy and its signature,
// the route that it is on, the generation of the route's weights, the version that was chosen, the proxy, who asks, and
// why an answer is what it is. Never ask for the whole xds.node: it is 82 KB a
// request.
const (
	AttributePolicy      = "xds.route_metadata.filter_metadata['" + MetadataNamespace + "']['" + MetadataPolicy + "']"
	AttributeSignature   = "xds.route_metadata.filter_metadata['" + MetadataNamespace + "']['" + MetadataSignature + "']"
	AttributeRoute       = "xds.route_name" // Envoy's name of it, that a signature is held against
	AttributeGeneration  = "xds.route_metadata.filter_metadata['" + MetadataNamespace + "']['" + MetadataGeneration + "']"
	AttributeCluster     = "xds.cluster_name"
	AttributeNode        = "xds.node.id"
	AttributeSource      = "source.address" // with the port
	AttributeCodeDetails = "response.code_details"
)

// Keys inside MetadataNamespace of a request's own metadata, which the processor
// writes where the model may still break off an answer on which it has said its word:
// what it counted, so that the answer does not count once more. With HostBoth it
// writes a verdict with every answer, which the WASM filter then leaves alone.
const (
	MetadataVerdict = "verdict" // one of the verdicts
	MetadataTook    = "took_ms" // of a stream that was clean: the time until its first content, a number
)

// The verdicts. An answer that was counted, or that is none to count, is done with.
// A stream that was clean counts once its end is known: to the processor where it
// sees it, else by what Envoy tells afterwards.
const (
	VerdictCounted  = "counted"
	VerdictClean    = "clean"
	VerdictObserved = "observed" // clean, but for what a detector that observes found
	// VerdictSeen is said to the WASM filter alone: the answer is the processor's to
	// judge, or passes unread as its policy has it. Nothing is counted by that.
	VerdictSeen = "seen"
)

// What Envoy tells the processor of afterwards, by its access log service: an
// answer that the model broke off behind its headers, and a stream that was clean
// and whose end the processor has not seen.
const (
	LogCutAnswers = "safestate.cut"
	DetailsWhole  = "via_upstream"                          // the response code details of an answer that ended well
	DetailsCut    = "upstream_reset_after_response_started" // begins the response code details
)

// HeaderGuarded goes with a request from the proxy whose policy judges its answer to
// the model's own sidecar, which leaves it alone then: whether all answers are
// enforced ("Enforce" or "Observe"), a blank, and the policy's namespace/name. Its
// name begins unlike that of our other headers, which are dropped on the way.
const HeaderGuarded = "x-safestated-by"

// Headers by which Envoy asks the ladder's own upstream for an answer. Callers'
// copies are stripped at the edge.
const (
	// HeaderAnswer sends a request there: the reason that nothing else answers.
	HeaderAnswer = "x-safestate-answer"
	// HeaderDigest names the route's policy: Digest of its text.
	HeaderDigest = "x-safestate-policy"
	// HeaderBudgeted says that the route's budget has been asked already.
	HeaderBudgeted = "x-safestate-budgeted"
	// HeaderPolicyUnknown on an answer says that the policy is not known there. Then
	// HeaderPolicyText brings it, percent-encoded, with HeaderPolicySignature, its
	// signature, and HeaderPolicyRoute, Envoy's name of the route that it is signed for.
	HeaderPolicyUnknown   = "x-safestate-policy-unknown"
	HeaderPolicyText      = "x-safestate-policy-text"
	HeaderPolicySignature = "x-safestate-policy-signature"
	HeaderPolicyRoute     = "x-safestate-policy-route"
	// HeaderReport marks a report of a WASM filter, in signals.proto's form: it asks for
	// no answer.
	HeaderReport = "x-safestate-report"
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
