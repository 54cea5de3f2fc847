package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:validation:XValidation:rule="[has(self.cache), has(self.fallback), has(self.rules), has(self.safeDefault)].filter(r, r).size() == 1",message="want exactly one of cache, fallback, rules and safeDefault in each item"

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
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('168h')",message="want 1ms to 168h"
	TTL *metav1.Duration `json:"ttl"`
	// StaleWhileRevalidate is how much longer it may still answer. Default: 0.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('168h')",message="want 0s to 168h"
	StaleWhileRevalidate *metav1.Duration `json:"staleWhileRevalidate,omitempty"`
	// TenantHeaders are part of an entry's key. Without one nothing is cached
	// for requests that carry credentials. Default: none.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.matches('^[A-Za-z0-9!#$%&*+.^_\\x60|~\\\\x27-]+$'))",message="want names of headers"
	// +kubebuilder:validation:XValidation:rule="self.all(h, !h.lowerAscii().startsWith('x-safestate-'))",message="has a header of safestate's own, which is stripped from requests; want one that tells tenants apart"
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(g, g.lowerAscii() == h.lowerAscii()))",message="has a header twice; want each once"
	TenantHeaders []string `json:"tenantHeaders,omitempty"`
	// When it is asked. Default: OnFailure.
	// +kubebuilder:default=OnFailure
	When When `json:"when,omitempty"`
}

// Fallback asks another model.
type Fallback struct {
	// Model is a Model of the policy's namespace, in another failure domain
	// and of the same protocol. Required.
	// +kubebuilder:validation:MinLength=1
	Model string `json:"model"`
	// Version of it. Default: its only one.
	Version string `json:"version,omitempty"`
	// Path replaces the request's. Default: the request's own with the
	// primary's served name replaced by the fallback's.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^/[^\\\\x00-\\\\x08\\\\x0a-\\\\x20#\\\\x7f]*$')",message="want a path that starts with /, such as /v2/health/ready"
	Path string `json:"path,omitempty"`
	// Deadline of one answer, under the policy's; of a stream, until its first
	// content. Required.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('15m')",message="want 1ms to 15m"
	Deadline *metav1.Duration `json:"deadline"`
	// MaxBytes of its answer. Default: the policy's body limit.
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=67108864
	MaxBytes *int64 `json:"maxBytes,omitempty"`
	// MaxConcurrent requests in flight at it, per replica. Default: 64.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:default=64
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
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[^\\\\x00-\\\\x08\\\\x0a-\\\\x20#\\\\x7f]*$')",message="want a path that starts with /, such as /v2/health/ready"
	Path string `json:"path"`
	// Interval between probes, at least 100ms. Default: 5s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="want 100ms to 1h"
	// +kubebuilder:default="5s"
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="has(self.confidence) || !self.template.matches('[{][{]\\\\s*confidence\\\\s*[}][}]')",message="confidence is missing, and the template names it; want a constant, 0 to 1",fieldPath=".template"

// Rules is a decision table: the rows that hold add up to a score.
type Rules struct {
	// Score lists the rows. At least one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Score []ScoreRule `json:"score"`
	// MaxScore caps the sum. Default: 1.0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:ExclusiveMinimum=true
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:default=1
	MaxScore *float64 `json:"maxScore,omitempty"`
	// Confidence is a constant, 0 to 1; required where the template names it.
	// Default: 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1
	Confidence *float64 `json:"confidence,omitempty"`
	// Template of the answer, in the protocol's shape, with {{score}},
	// {{confidence}}, {{reasons}}, {{id}} and {{request.PATH}}. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Template string `json:"template"`
	// Status of the answer. Default: 200.
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	// +kubebuilder:default=200
	Status *int32 `json:"status,omitempty"`
}

// ScoreRule is one row.
type ScoreRule struct {
	// When is a CEL condition. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	// +kubebuilder:validation:XValidation:rule="self.matches('\\\\S')",message="want a CEL condition, such as status == 503"
	When string `json:"when"`
	// Add is added to the score where it holds. Required.
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Add *float64 `json:"add"`
	// Reason is listed where it holds. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')",message="want letters, digits, -, _ and ., 63 at most"
	Reason string `json:"reason"`
}

// +kubebuilder:validation:XValidation:rule="!has(self.template) || self.template == '' || !has(self.refresh)",message="is set beside template; want one of them",fieldPath=".refresh"

// SafeDefault always answers. At most one of Template and Refresh is set, and
// then Body is what answers when that cannot, and what the proxy answers by
// itself.
type SafeDefault struct {
	// Status of the answer, 200 to 599. Default: 200.
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	// +kubebuilder:default=200
	Status *int32 `json:"status,omitempty"`
	// ContentType of the answer. Default: application/json.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('(?i)^\\\\s*(application/json|[^/;\\\\s]+/[^/;\\\\s]+[+]json)\\\\s*(;.*)?$')",message="want application/json or a type that ends in +json"
	// +kubebuilder:default=application/json
	ContentType string `json:"contentType,omitempty"`
	// Body is static, in the protocol's shape. Required.
	// +kubebuilder:validation:MinLength=1
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

// +kubebuilder:validation:XValidation:rule="(has(self.file) && self.file != '') != (has(self.url) && self.url != '')",message="want exactly one of file and url"

// Refresh reads a body. Exactly one of File and URL is set.
type Refresh struct {
	// File is absolute, or relative to the working directory of the processor.
	// Default: none.
	File string `json:"file,omitempty"`
	// URL is http or https, without credentials. Default: none.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self == '' || (isURL(self) && self.matches('^(?i:https?)://[^/?#]+'))",message="want an http or https URL"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/?#]*@')",message="carries credentials; want a URL without"
	URL string `json:"url,omitempty"`
	// Interval between reads, at least 1s. Default: 1m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="want 1s to 24h"
	// +kubebuilder:default="1m"
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// AcknowledgeRisk says who answers for a default that lets something through.
type AcknowledgeRisk struct {
	// By is a role, such as risk-committee. Required.
	// +kubebuilder:validation:MinLength=1
	By string `json:"by"`
	// Ticket where it was decided. Required.
	// +kubebuilder:validation:MinLength=1
	Ticket string `json:"ticket"`
}
