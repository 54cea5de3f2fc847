package crds

import (
	"strings"
	"testing"
)

// only lists what only safestate can refuse, by the reason: no schema and no
// rule over one object can know it.
var only = map[string]string{
	"what an object names is another object": `
		contract-model-version deadline-over-request-timeout fallback-failure-domain fallback-failure-domain-missing
		fallback-model-dangling fallback-model-itself fallback-version-dangling fallback-version-missing
		grpc-target-dangling grpc-target-kind-mixed grpc-target-section grpc-target-two-policies name-twice
		stream-max-duration-request target-route-dangling target-section-dangling target-two-policies`,
	"the protocol stands in the Model, not in the policy": `
		chat-confidence-aggregate chat-confidence-value chat-constant chat-contract chat-contract-model
		chat-fallback-protocol chat-non-finite-paths chat-outputs chat-protocol chat-rewritten-path
		chat-rewritten-to chat-status contract-protocol fallback-protocol grpc-model-protocol json-output-path
		non-finite-json-paths non-finite-paths output-name-missing policy-rewritten-path stream-protocol
		target-protocols`,
	"an expression has to be compiled": `
		cel-disabled-still-checked cel-not-bool cel-syntax cel-type cel-unknown-name rules-when`,
	"CEL in the API server reads no JSON": `
		body-key-twice body-not-json body-trailing body-truncated chat-allow chat-template completion-choice
		completion-content completion-empty completion-fallback completion-finish-reason completion-index
		completion-logprobs completion-message completion-not-object completion-object completion-role
		completion-usage completion-usage-members default-allow-member default-allow-text grpc-body
		grpc-cannot-answer grpc-parameters json-promised-min json-promised-missing json-too-deep
		promised-datatype promised-labels promised-max promised-min promised-missing promised-shape
		promised-unknown rows-not-object rows-null rows-predictions rows-promised-missing rows-promised-number
		rows-promised-row v2-data v2-data-bool v2-data-bytes v2-data-count v2-data-integer v2-data-null
		v2-data-object v2-data-range v2-data-unsigned v2-datatype v2-id v2-model-name v2-not-object v2-output
		v2-output-name v2-output-twice v2-outputs v2-parameters v2-shape v2-shape-extent v2-shape-huge`,
	"a template has to be parsed": `
		default-template-score rules-template-in-text rules-template-open rules-template-placeholder
		rules-template-shape`,
	"the policy has to be compiled to know its size, or that it runs": `
		chat-too-large policy-too-large rules-cannot-run`,
	"a rule for it costs more than the API server allows": `
		output-labels-number`,
	"routes are the Gateway API's, whose definitions allow more than safestate carries out": `
		backend-dangling backend-filters backend-group backend-kind backend-missing backend-namespace
		backend-twice filter-header-framing filter-header-host filter-header-own filter-header-twice
		filter-unsupported grant-dangling grant-other grpc-filter-unsupported grpc-match-regex grpc-match-regex-open
		grpc-route-backend grpc-route-backend-missing grpc-route-label grpc-route-session match-header-twice
		match-path-regex match-query-regex rewrite-full-path rewrite-missing route-hostname-twice route-retry
		session-header session-name session-timeout session-timeout-short`,
	"what reads the YAML makes something else of it before the API server sees it": `
		document-empty type-integer-hexadecimal`,
	"an API server has kinds that safestate does not read": `
		document-kind-other document-kind-state`,
	"only a mesh has sidecars of a model's own, and the API server has one": `
		target-model`,
	"the API server removes what has no value": `
		field-null`,
}

// reasons turns only around: the reason by the file's name.
func reasons(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for reason, names := range only {
		for name := range strings.FieldsSeq(names) {
			if out[name] != "" {
				t.Errorf("%s: has two reasons", name)
			}
			out[name] = reason
		}
	}
	return out
}
