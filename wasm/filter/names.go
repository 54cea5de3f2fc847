package filter

import "github.com/safestate/safestate/internal/policy"

// Properties, as Envoy's wasm host names them.
var (
	propertyDigest     = []string{"xds", "route_metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataPolicyDigest}
	propertyPolicy     = []string{"xds", "route_metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataPolicy}
	propertySignature  = []string{"xds", "route_metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataSignature}
	propertyRoute      = []string{"xds", "route_name"}
	propertyGeneration = []string{"xds", "route_metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataGeneration}
	propertyKilled     = []string{"xds", "route_metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataKilled}
	propertyVerdict    = []string{"metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataVerdict}
	propertyCluster    = []string{"xds", "cluster_name"}
	propertyDetails    = []string{"response", "code_details"}
	propertySource     = []string{"source", "address"}
	propertyNode       = []string{"xds", "node", "id"}
)

// Names of metrics, which are the processor's own.
const (
	metricServed      = "safestate_prediction_served_total"
	metricDetections  = "safestate_detections_total"
	metricUninspected = "safestate_uninspected_total"
	metricRejected    = "safestate_requests_rejected_total"
	metricTokens      = "safestate_tokens_total"
	metricBudget      = "safestate_budget_exhausted_total"
	metricBreaker     = "safestate_breaker_transitions_total"
)

// Causes of uninspected answers, the processor's labels.
const (
	causeNotInference      = "not_inference"
	causeForeign           = "foreign"
	causeRequestOverLimit  = "request_over_limit"
	causeResponseOverLimit = "response_over_limit"
	causeMemory            = "memory_budget"
	causePolicyUnreadable  = "policy_unreadable"
	causeFilterError       = "processor_error"
	causeAbandoned         = "abandoned"
)

// sourceCut is the label of a stream that failed after its first content.
const sourceCut = "cut"
