package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Detect lists the detectors. Each has a mode of its own: Enforce where
// omitted, and never more than the policy's.
type Detect struct {
	// NonFinite fails NaN and infinities. Default: on.
	NonFinite *NonFinite `json:"nonFinite,omitempty"`
	// Broken fails answers that are none: 5xx, resets, refusals, a wrong
	// content-type, truncated, empty or unreadable bodies, an error object in
	// a 200. Default: on.
	Broken *Broken `json:"broken,omitempty"`
	// Late fails answers past the model's share of the deadline. Default: on.
	Late *Late `json:"late,omitempty"`
	// Chat holds completions to more than their form; only with protocol OpenAI.
	// Default: choices.
	Chat *Chat `json:"chat,omitempty"`
	// Confidence fails answers that are not sure enough. Default: off.
	Confidence *Confidence `json:"confidence,omitempty"`
	// Outputs are what the model promises. Default: none.
	Outputs []Output `json:"outputs,omitempty"`
	// Contract holds answers to Outputs and to their names. Default: on where
	// Outputs is not empty.
	Contract *Contract `json:"contract,omitempty"`
	// Constant fails a model that says the same to everything. Default: off.
	Constant *Constant `json:"constant,omitempty"`
	// CEL are conditions over request and response; true fails. Names are
	// unique. Default: none.
	CEL []Expression `json:"cel,omitempty"`
	// Dependencies name what made a model fail, each with its own breaker.
	// Names are unique. Default: none.
	Dependencies []Dependency `json:"dependencies,omitempty"`
	// Request checks fields before the model is asked. Default: none.
	Request []RequestCheck `json:"request,omitempty"`
}

// NonFinite looks at every floating-point output; for protocol JSON at Paths.
type NonFinite struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Paths from the response, such as response.predictions[*].score; only and
	// always with protocol JSON. A path names a value or an array. Default:
	// none.
	Paths []string `json:"paths,omitempty"`
}

// Broken fails 5xx and what cannot be read.
type Broken struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Statuses from 400 to 499 that fail too, such as 429. Default: none.
	Statuses []int32 `json:"statuses,omitempty"`
}

// Late has no more than its mode: the deadline is the policy's.
type Late struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
}

// Confidence fails an answer under Min; missing, null, a sentinel or over 1
// is a failure of its own.
type Confidence struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Value is a path from the response, such as response.outputs[0].data; with
	// protocol OpenAI it is logprobs, the probabilities of the tokens, judged
	// where the request asks for them. Required.
	Value string `json:"value"`
	// Aggregate of a vector; with protocol OpenAI Min or Mean of the tokens, the
	// mean being the geometric one. Default: Min.
	Aggregate Aggregate `json:"aggregate,omitempty"`
	// Min is the least confidence, 0 to 1. Required.
	Min *float64 `json:"min"`
}

// Output is one promised output.
type Output struct {
	// Name of the output. With OpenInferenceV1, TensorFlowServing and MLflow a
	// key of each prediction, or empty for the prediction itself; with JSON a
	// path from the response. Default: empty.
	Name string `json:"name,omitempty"`
	// Datatype. Default: any.
	Datatype Datatype `json:"datatype,omitempty"`
	// Shape; -1 is any extent. Default: any.
	Shape []int64 `json:"shape,omitempty"`
	// Min and Max bound each number, inclusive. Default: no bound.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Labels is the closed set of texts or integers. Default: any.
	Labels []string `json:"labels,omitempty"`
	// Optional: may be missing. Default: false.
	Optional bool `json:"optional,omitempty"`
}

// Contract holds an answer to what the model promises.
type Contract struct {
	// Mode, of Outputs too. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// RefuseUnknownOutputs: an output that Outputs does not name fails.
	// Default: false.
	RefuseUnknownOutputs bool `json:"refuseUnknownOutputs,omitempty"`
	// IDEcho: the request's id has to come back. Default: false.
	IDEcho bool `json:"idEcho,omitempty"`
	// ModelName: model_name has to be the served name; the model of a completion
	// that name or the request's. Default: false.
	ModelName bool `json:"modelName,omitempty"`
	// ModelVersion: model_version has to be the version's reportedVersion.
	// Default: false.
	ModelVersion bool `json:"modelVersion,omitempty"`
}

// Constant fails when nothing but one prediction was seen within Window, in at
// least MinRequests answers to at least MinInputs different requests.
type Constant struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Window. Default: 1m.
	Window *metav1.Duration `json:"window,omitempty"`
	// MinRequests, 2 to 65536. Default: 50.
	MinRequests *int32 `json:"minRequests,omitempty"`
	// MinInputs, 2 to 4096 and at most MinRequests. Default: 10.
	MinInputs *int32 `json:"minInputs,omitempty"`
}

// Expression is one CEL condition over request, response, status,
// request_headers and response_headers.
type Expression struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Name stands in the reason: letters, digits, -, _ and ., 63 at most.
	// Required.
	Name string `json:"name"`
	// Expression yields a bool. Required.
	Expression string `json:"expression"`
}

// Dependency is something the model depends on, such as feature-store.
type Dependency struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Name stands in the reason, as that of a condition. Required.
	Name string `json:"name"`
	// Expression tells its failure from the model's answer. Required.
	Expression string `json:"expression"`
	// Breaker of the dependency. Default: 5 failures, 30s, 3.
	Breaker *Breaker `json:"breaker,omitempty"`
}

// RequestCheck looks at one field of the request.
type RequestCheck struct {
	// Mode. Default: Enforce.
	Mode Mode `json:"mode,omitempty"`
	// Field is a path from the request, such as request.inputs[0].data.
	// Required.
	Field string `json:"field"`
	// Required: missing fails. Default: false.
	Required bool `json:"required,omitempty"`
	// Type of the value. Default: any.
	Type FieldType `json:"type,omitempty"`
	// Nullable: null is fine. Default: false.
	Nullable bool `json:"nullable,omitempty"`
	// Min and Max bound a number and each number of an array. Default: none.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Values is the closed set of a text. Default: any.
	Values []string `json:"values,omitempty"`
	// OnFail. Default: Answer.
	OnFail OnFail `json:"onFail,omitempty"`
}
