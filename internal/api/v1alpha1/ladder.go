package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Rung is one step of the ladder: exactly one field is set.
type Rung struct {
	// Cache: a clean answer that the model gave to the same request before.
	Cache *Cache `json:"cache,omitempty"`
	// Fallback: another model.
	Fallback *Fallback `json:"fallback,omitempty"`
	// Rules: a decision table.
	Rules *Rules `json:"rules,omitempty"`
	// SafeDefault: what always answers.
	SafeDefault *SafeDefault `json:"safeDefault,omitempty"`
}

// Cache answers with a clean answer that the model gave to the same request.
type Cache struct {
	// TTL of an entry. Required.
	TTL *metav1.Duration `json:"ttl"`
	// StaleWhileRevalidate is how much longer it may still answer. Default: 0.
	StaleWhileRevalidate *metav1.Duration `json:"staleWhileRevalidate,omitempty"`
	// TenantHeaders are part of an entry's key. Without one nothing is cached
	// for requests that carry credentials. Default: none.
	TenantHeaders []string `json:"tenantHeaders,omitempty"`
	// When it is asked. Default: OnFailure.
	When When `json:"when,omitempty"`
}

// Fallback asks another model.
type Fallback struct {
	// Model is a Model of the policy's namespace, in another failure domain
	// and of the same protocol. Required.
	Model string `json:"model"`
	// Version of it. Default: its only one.
	Version string `json:"version,omitempty"`
	// Path replaces the request's. Default: the request's own with the
	// primary's served name replaced by the fallback's.
	Path string `json:"path,omitempty"`
	// Deadline of one answer, under the policy's; of a stream, until its first
	// content. Required.
	Deadline *metav1.Duration `json:"deadline"`
	// MaxBytes of its answer. Default: the policy's body limit.
	MaxBytes *int64 `json:"maxBytes,omitempty"`
	// MaxConcurrent requests in flight at it, per replica. Default: 64.
	MaxConcurrent *int32 `json:"maxConcurrent,omitempty"`
	// Breaker of the fallback. Default: 5 failures, 30s, 3.
	Breaker *Breaker `json:"breaker,omitempty"`
	// Probe keeps it warm. Default: the fallback model's health check, where
	// it has one.
	Probe *Probe `json:"probe,omitempty"`
}

// Probe is a GET that keeps connections to a fallback open.
type Probe struct {
	// Path starts with a slash. Required.
	Path string `json:"path"`
	// Interval between probes, at least 100ms. Default: 5s.
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// Rules is a decision table: the rows that hold add up to a score.
type Rules struct {
	// Score lists the rows. At least one.
	Score []ScoreRule `json:"score"`
	// MaxScore caps the sum. Default: 1.0.
	MaxScore *float64 `json:"maxScore,omitempty"`
	// Confidence is a constant, 0 to 1; required where the template names it.
	// Default: 0.
	Confidence *float64 `json:"confidence,omitempty"`
	// Template of the answer, in the protocol's shape, with {{score}},
	// {{confidence}}, {{reasons}}, {{id}} and {{request.PATH}}. Required.
	Template string `json:"template"`
	// Status of the answer. Default: 200.
	Status *int32 `json:"status,omitempty"`
}

// ScoreRule is one row.
type ScoreRule struct {
	// When is a CEL condition. Required.
	When string `json:"when"`
	// Add is added to the score where it holds. Required.
	Add *float64 `json:"add"`
	// Reason is listed where it holds. Required.
	Reason string `json:"reason"`
}

// SafeDefault always answers. At most one of Template and Refresh is set, and
// then Body is what answers when that cannot, and what the proxy answers by
// itself.
type SafeDefault struct {
	// Status of the answer, 200 to 599. Default: 200.
	Status *int32 `json:"status,omitempty"`
	// ContentType of the answer. Default: application/json.
	ContentType string `json:"contentType,omitempty"`
	// Body is static, in the protocol's shape. Required.
	Body string `json:"body"`
	// Template over the request: {{id}}, {{request.PATH}} and
	// {{sort request.PATH by KEY desc}}. Default: none.
	Template string `json:"template,omitempty"`
	// Refresh reads the body out of band and keeps the last good one. Default:
	// none.
	Refresh *Refresh `json:"refresh,omitempty"`
	// AcknowledgeRisk is required where the answer lets something through.
	// Default: none.
	AcknowledgeRisk *AcknowledgeRisk `json:"acknowledgeRisk,omitempty"`
}

// Refresh reads a body. Exactly one of File and URL is set.
type Refresh struct {
	// File is absolute, or relative to the working directory of the processor.
	// Default: none.
	File string `json:"file,omitempty"`
	// URL is http or https, without credentials. Default: none.
	URL string `json:"url,omitempty"`
	// Interval between reads, at least 1s. Default: 1m.
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// AcknowledgeRisk says who answers for a default that lets something through.
type AcknowledgeRisk struct {
	// By is a role, such as risk-committee. Required.
	By string `json:"by"`
	// Ticket where it was decided. Required.
	Ticket string `json:"ticket"`
}
