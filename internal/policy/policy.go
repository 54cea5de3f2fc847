// Package policy holds the compiled form of a route's FailSafePolicy: the one
// JSON string that the mesh carries in a route's metadata and that both hosts
// (the external processor and the WASM filter) read.
//
// The form is plain data. What it names has been validated by package compile;
// a host that reads it trusts the shape, not the sender, so Parse checks again
// what a host could be hurt by. Policies are immutable once parsed and safe for
// concurrent use.
package policy

import "github.com/safestate/safestate/internal/time"

// FormatVersion is the version that this build writes. A host reads its own
// and the one before.
const FormatVersion = 1

// MaxBytes is the most that a compiled policy may take, because Envoy hands it
// over with every request.
const MaxBytes = 16 << 10

// Mode says what is done with a failed verdict. The zero value observes.
type Mode string

// The modes, of a policy as a whole and of one detector.
const (
	Observe Mode = "observe" // count what would have been done
	Enforce Mode = "enforce" // do it
)

// Enforces reports whether the mode acts.
func (m Mode) Enforces() bool { return m == Enforce }

// Host names what judges a route's answers. The zero value is HostProcessor.
type Host string

// The hosts.
const (
	HostProcessor Host = ""     // the external processor
	HostWASM      Host = "wasm" // the WASM filter in Envoy
	HostBoth      Host = "both" // the processor, and the filter for what it has not judged
)

// Processor reports whether the processor sees the route's requests.
func (h Host) Processor() bool { return h != HostWASM }

// WASM reports whether the WASM filter does.
func (h Host) WASM() bool { return h == HostWASM || h == HostBoth }

// Protocol names how requests and answers are shaped.
type Protocol string

// The protocols. OpenInferenceGRPC is what a model of OpenInferenceV2 speaks
// behind a GRPCRoute; no configuration names it.
const (
	OpenInferenceV1   Protocol = "OpenInferenceV1"
	OpenInferenceV2   Protocol = "OpenInferenceV2" // REST, with or without the binary tensor extension
	TensorFlowServing Protocol = "TensorFlowServing"
	MLflow            Protocol = "MLflow"
	JSON              Protocol = "JSON"
	OpenAI            Protocol = "OpenAI"
	OpenInferenceGRPC Protocol = "OpenInferenceGRPC"
)

// Duration marshals as Go's duration text ("80ms").
type Duration time.Duration

// D returns the duration as Go's own type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalText writes Go's duration text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's duration text.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Policy is what one route asks of safestate.
type Policy struct {
	Format int    `json:"format"`
	Name   string `json:"name"`  // namespace/name of the FailSafePolicy
	Route  string `json:"route"` // namespace/route/rule: the route label of every metric

	// Host is where answers are judged.
	Host Host `json:"host,omitempty"`

	Mode           Mode    `json:"mode,omitempty"`
	EnforcePercent float64 `json:"enforcePercent,omitempty"` // 0 to 100, with Mode Enforce; absent means 100

	Protocol   Protocol           `json:"protocol"`
	Model      string             `json:"model"`                // namespace/name
	ServedName string             `json:"servedName,omitempty"` // what the server calls the model; a JSON model may have none
	Stable     string             `json:"stable,omitempty"`     // the version with the largest weight: the one that When First looks up
	Versions   map[string]Version `json:"versions,omitempty"`   // by Envoy cluster name

	// Deadline bounds the whole answer, counted from the request's headers; of a
	// streamed answer it bounds the time until its first content. Reserve is the part that the ladder keeps for itself: the model gets
	// Deadline less Reserve.
	Deadline Duration `json:"deadline"`
	Reserve  Duration `json:"reserve,omitempty"`

	// Stream bounds streamed answers; nil where the protocol has none.
	Stream *Stream `json:"stream,omitempty"`

	Limits  Limits   `json:"limits"`
	Detect  Detect   `json:"detect"`
	Ladder  []Rung   `json:"ladder"`
	Breaker *Breaker `json:"breaker,omitempty"` // nil: no breaker per version
	// MaxConcurrent is the bulkhead: requests in flight at the model per
	// replica; 0 is no limit.
	MaxConcurrent int     `json:"maxConcurrent,omitempty"`
	Budget        *Budget `json:"budget,omitempty"`

	WhenProcessorAway Away `json:"whenProcessorAway,omitempty"`
	// GRPCLastRung is what Envoy alone says to a gRPC call; it means nothing to
	// other protocols.
	GRPCLastRung LastRung `json:"grpcLastRung,omitempty"`
	Needs        Needs    `json:"needs"`
	LogPayloads  bool     `json:"logPayloads,omitempty"`
}

// Version is one version of the route's model.
type Version struct {
	Model string `json:"model,omitempty"` // namespace/name where it is not the policy's own
	Name  string `json:"name"`
	// ReportedVersion is what the server writes as model_version, where the
	// contract detector should hold it to that; empty: not checked.
	ReportedVersion string `json:"reportedVersion,omitempty"`
}

// Away says what Envoy does while no processor answers.
type Away string

// The choices while the processor is away. The zero value is AwayDefault.
const (
	AwayDefault Away = ""     // fail closed: the last rung answers
	AwayPass    Away = "pass" // fail open: the model's answer passes uninspected
)

// Over says what happens to a body over the limit.
type Over string

// The choices over a limit. The zero value is OverDefault.
const (
	OverDefault Over = ""     // answer from the ladder
	OverPass    Over = "pass" // pass uninspected, counted
)

// Limits bounds what is read.
type Limits struct {
	BodyBytes    int64 `json:"bodyBytes"` // response and request bodies, each
	ResponseOver Over  `json:"responseOver,omitempty"`
	RequestOver  Act   `json:"requestOver,omitempty"`
}

// Act says what a failed request check does.
type Act string

// What a failed request check does. The zero value is ActAnswer.
const (
	ActAnswer Act = ""       // from the ladder, without asking the model
	ActReject Act = "reject" // 400 that names the field
	ActPass   Act = "pass"   // to the model, counted
)

// Needs says which of Envoy's messages the policy asks for, so that the route
// is configured for these and no others. Request and response headers are
// always asked for.
type Needs struct {
	RequestBody bool `json:"requestBody,omitempty"`
	// Duplex: the answer comes piece by piece, and the processor decides when
	// its headers go out.
	Duplex bool `json:"duplex,omitempty"`
}

// Detect lists the detectors of a policy. A nil or empty entry is off.
type Detect struct {
	NonFinite    *NonFinite     `json:"nonFinite,omitempty"`
	Broken       *Broken        `json:"broken,omitempty"`
	Late         *Late          `json:"late,omitempty"`
	Confidence   []Confidence   `json:"confidence,omitempty"`
	Contract     *Contract      `json:"contract,omitempty"`
	Constant     *Constant      `json:"constant,omitempty"`
	Chat         *Chat          `json:"chat,omitempty"`
	CEL          []Expression   `json:"cel,omitempty"`
	Dependencies []Dependency   `json:"dependencies,omitempty"`
	Request      []RequestCheck `json:"request,omitempty"`
}

// NonFinite finds NaN and infinities in floating-point outputs. For protocol
// JSON it looks at Paths; for the tensor protocols at every output.
type NonFinite struct {
	Mode  Mode     `json:"mode"`
	Paths []string `json:"paths,omitempty"` // protocol JSON only, written like response.predictions[*].score; a path names a value or an array, [*] every element
}

// Broken finds answers that are no answers: 5xx, resets, refusals, wrong
// content-type, truncated, empty, unreadable, an error object in a 200. Where
// it is off, an answer that the other detectors cannot read is a finding all
// the same, under the strictest of their modes; where it observes, it is not.
type Broken struct {
	Mode     Mode  `json:"mode"`
	Statuses []int `json:"statuses,omitempty"` // statuses under 500 that fail too, such as 429
}

// Late finds answers that the model did not give in its share of the deadline.
type Late struct {
	Mode Mode `json:"mode"`
}

// Aggregate folds a vector of probabilities into one confidence. Over a matrix
// each row of the last dimension is folded, and the worst row counts.
type Aggregate string

// The aggregates.
const (
	AggregateMin    Aggregate = "min"
	AggregateMean   Aggregate = "mean"
	AggregateMax    Aggregate = "max"
	AggregateMargin Aggregate = "margin" // the largest less the second largest
)

// Confidence fails an answer whose confidence is under Min (0 to 1).
type Confidence struct {
	Mode      Mode      `json:"mode"`
	Value     string    `json:"value"` // a path from the response, such as response.outputs[0].data; of OpenAI also logprobs: the tokens' probabilities, by mean or min
	Aggregate Aggregate `json:"aggregate"`
	Min       float64   `json:"min"`
}

// Contract holds an answer to what the model promises.
type Contract struct {
	Mode    Mode     `json:"mode"`
	Outputs []Output `json:"outputs,omitempty"`
	// UnknownOutputs: an output that Outputs does not name fails.
	UnknownOutputs bool `json:"unknownOutputs,omitempty"`
	IDEcho         bool `json:"idEcho,omitempty"`       // the request's id must come back
	ModelName      bool `json:"modelName,omitempty"`    // model_name must be the served name
	ModelVersion   bool `json:"modelVersion,omitempty"` // model_version must be the version's ReportedVersion, where it has one
}

// Output is one promised output. For V1, TensorFlow Serving and MLflow the
// name is a key of each prediction row, or empty for the prediction itself;
// for JSON it is a path, written like response.predictions[*].score.
type Output struct {
	Name     string   `json:"name,omitempty"`
	Datatype string   `json:"datatype,omitempty"` // Open Inference names: FP32, INT64, BYTES, …
	Shape    []int64  `json:"shape,omitempty"`    // -1 is any
	Min      *float64 `json:"min,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	Labels   []string `json:"labels,omitempty"` // the closed set of BYTES values or integers
	Optional bool     `json:"optional,omitempty"`
}

// Constant finds a model that gives the same prediction for every input: no
// other answer among at least MinRequests answers within Window that came from
// at least MinInputs different request bodies. It needs the request's body.
type Constant struct {
	Mode        Mode     `json:"mode"`
	Window      Duration `json:"window"`
	MinRequests int      `json:"minRequests"`
	MinInputs   int      `json:"minInputs"`
}

// Program is a compiled condition in package expr's wire form, which is JSON.
type Program []byte

// Expression is one CEL condition, compiled; true means failed.
type Expression struct {
	Mode    Mode    `json:"mode"`
	Name    string  `json:"name"`
	Program Program `json:"program"` // package expr's wire form
}

// Dependency names the dependency that made a model fail, by a condition on
// its answer; it has its own breaker.
type Dependency struct {
	Mode    Mode    `json:"mode,omitempty"` // empty: Enforce
	Name    string  `json:"name"`
	Program Program `json:"program"`
	Breaker Breaker `json:"breaker"`
}

// RequestCheck looks at one field of the request before the model is asked.
type RequestCheck struct {
	Mode     Mode     `json:"mode"`
	Field    string   `json:"field"` // a path from the request, such as request.inputs[0].data
	Required bool     `json:"required,omitempty"`
	Type     string   `json:"type,omitempty"` // number | integer | string | boolean | array | object; empty is any
	Nullable bool     `json:"nullable,omitempty"`
	Min      *float64 `json:"min,omitempty"` // numbers, and each number of an array
	Max      *float64 `json:"max,omitempty"`
	Values   []string `json:"values,omitempty"` // the closed set of a string
	OnFail   Act      `json:"onFail,omitempty"`
}

// Rung is one step of the ladder: exactly one field is set. SafeDefault is the
// last and always there.
type Rung struct {
	Cache       *Cache       `json:"cache,omitempty"`
	Fallback    *Fallback    `json:"fallback,omitempty"`
	Rules       *Rules       `json:"rules,omitempty"`
	SafeDefault *SafeDefault `json:"safeDefault,omitempty"`
}

// When says when a cache is asked.
type When string

// When a cache is asked. The zero value is OnFailure.
const (
	OnFailure When = ""      // only once the model failed
	First     When = "first" // before the model, under the stable version's key
)

// Cache answers with a clean answer that the model gave before.
type Cache struct {
	TTL                  Duration `json:"ttl"`
	StaleWhileRevalidate Duration `json:"staleWhileRevalidate,omitempty"`
	TenantHeaders        []string `json:"tenantHeaders,omitempty"` // lower case
	When                 When     `json:"when,omitempty"`
	// Origin is the stable version itself, which is asked anew for a stale
	// entry with When First; nil: nobody asks.
	Origin *Fallback `json:"origin,omitempty"`
}

// Fallback asks another declared model.
type Fallback struct {
	Model      string     `json:"model"` // namespace/name
	Version    string     `json:"version,omitempty"`
	ServedName string     `json:"servedName,omitempty"`
	Protocol   Protocol   `json:"protocol"`
	Endpoints  []Endpoint `json:"endpoints"`
	// Path replaces the request's path. Empty: the request's path with the
	// primary's served name replaced by the fallback's, as the protocol has it.
	Path     string   `json:"path,omitempty"`
	Deadline Duration `json:"deadline"`
	MaxBytes int64    `json:"maxBytes"` // of its answer
	// MaxConcurrent is its bulkhead; 0 is no limit.
	MaxConcurrent int      `json:"maxConcurrent,omitempty"`
	Breaker       *Breaker `json:"breaker,omitempty"`
	// TLS and credentials are references that the processor resolves from its
	// own files: no secret is ever in a policy.
	TLS         *TLS   `json:"tls,omitempty"`
	Credentials string `json:"credentials,omitempty"` // a file's path: its content is the Authorization header's value
	Probe       *Probe `json:"probe,omitempty"`
}

// Endpoint is one address of a model.
type Endpoint struct {
	Address string `json:"address"` // an IP address or a host name
	Port    int    `json:"port"`
}

// TLS names what a connection to a model is secured with. Paths are read by
// whoever connects: Envoy or the processor.
type TLS struct {
	ServerName string `json:"serverName,omitempty"`
	CAFile     string `json:"caFile,omitempty"` // empty: the system's
	CertFile   string `json:"certFile,omitempty"`
	KeyFile    string `json:"keyFile,omitempty"`
}

// Probe keeps a fallback model warm: a GET of Path every Interval.
type Probe struct {
	Path     string   `json:"path"`
	Interval Duration `json:"interval"`
}

// Rules is a decision table: the conditions that hold add up to a score, and
// the template is filled in with score, confidence and reasons.
type Rules struct {
	Score      []ScoreRule `json:"score"`
	MaxScore   float64     `json:"maxScore"` // the score is capped here
	Confidence float64     `json:"confidence"`
	Template   string      `json:"template"` // {{score}}, {{confidence}}, {{reasons}} (a JSON array), {{id}}, {{request.PATH}}
	Status     int         `json:"status,omitempty"`
}

// ScoreRule is one row: where When holds, Add is added and Reason listed.
type ScoreRule struct {
	When   Program `json:"when"` // package expr's wire form
	Add    float64 `json:"add"`
	Reason string  `json:"reason"`
}

// SafeDefault is the rung that always answers. Of Body, Template and Refresh
// the last set one is tried first and Body answers when it cannot: Body is
// also what Envoy alone answers.
type SafeDefault struct {
	Status      int      `json:"status,omitempty"` // 0: 200
	ContentType string   `json:"contentType,omitempty"`
	Body        string   `json:"body,omitempty"`     // static
	Template    string   `json:"template,omitempty"` // over the request, as in Rules
	Refresh     *Refresh `json:"refresh,omitempty"`
}

// Refresh reads the body of the default out of band and keeps the last good
// one. Exactly one of File and URL is set.
type Refresh struct {
	File     string   `json:"file,omitempty"`
	URL      string   `json:"url,omitempty"`
	Interval Duration `json:"interval"`
}

// Breaker opens after Failures failures in a row, or when a rate over a window
// passes its threshold, stays open for Recovery, lets HalfOpenRequests through,
// and comes back by a ramp.
type Breaker struct {
	Hold             Hold     `json:"hold,omitempty"`
	Failures         int      `json:"failures,omitempty"` // in a row; 0: not used
	Recovery         Duration `json:"recovery"`
	HalfOpenRequests int      `json:"halfOpenRequests"`
	Ramp             Duration `json:"ramp,omitempty"` // from the first closed request to full traffic
	// The window is WindowRequests long, or Window, where one is set.
	WindowRequests  int      `json:"windowRequests,omitempty"`
	Window          Duration `json:"window,omitempty"`
	MinRequests     int      `json:"minRequests,omitempty"`
	FailurePercent  float64  `json:"failurePercent,omitempty"` // 0: not used
	SlowCall        Duration `json:"slowCall,omitempty"`
	SlowCallPercent float64  `json:"slowCallPercent,omitempty"` // 0: not used
}

// Hold is the state that a breaker is held at by hand.
type Hold string

// What a breaker is held at. The zero value is HoldNone.
const (
	HoldNone    Hold = ""        // by nothing: it decides
	HoldOpen    Hold = "open"    // nothing is asked
	HoldClosed  Hold = "closed"  // everything is asked, nothing is counted
	HoldObserve Hold = "observe" // everything is asked, what would have been refused is counted
)

// Budget bounds the share of a route's requests that the ladder answers.
type Budget struct {
	FallbackPercent float64  `json:"fallbackPercent"`
	Window          Duration `json:"window"`
	MinRequests     int      `json:"minRequests,omitempty"`
	Refuse          bool     `json:"refuse,omitempty"` // past it: 503; else answer, counted
}

// Default returns the last rung. A parsed policy always has one.
func (p *Policy) Default() *SafeDefault { return p.Ladder[len(p.Ladder)-1].SafeDefault }

// Draw reports whether one request is enforced. lot is a number from 0 to 1 without 1,
// and is asked for only where a share of requests is.
func (p *Policy) Draw(lot func() float64) bool {
	return p.Mode.Enforces() && (p.FullyEnforced() || lot()*100 < p.EnforcePercent)
}

// Share is the model's part of the deadline; of a stream the time that it has for its
// first content.
func (p *Policy) Share(stream bool) time.Duration {
	if stream && p.Stream != nil {
		return p.Stream.FirstToken.D()
	}
	return p.Deadline.D() - p.Reserve.D()
}

// FullyEnforced reports whether every request is enforced. Only then may Envoy
// alone answer with the default: it cannot draw lots.
func (p *Policy) FullyEnforced() bool {
	return p.Mode.Enforces() && (p.EnforcePercent == 0 || p.EnforcePercent >= 100)
}
