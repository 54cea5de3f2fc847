package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:validation:XValidation:rule="!has(self.contract) || (has(self.contract.mode) && self.contract.mode == 'Disabled') || !has(self.contract.refuseUnknownOutputs) || !self.contract.refuseUnknownOutputs || (has(self.outputs) && size(self.outputs) > 0)",message="is set, and detect.outputs names none; want the outputs that are known",fieldPath=".contract.refuseUnknownOutputs"

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
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	Outputs []Output `json:"outputs,omitempty"`
	// Contract holds answers to Outputs and to their names. Default: on where
	// Outputs is not empty.
	Contract *Contract `json:"contract,omitempty"`
	// Constant fails a model that says the same to everything. Default: off.
	Constant *Constant `json:"constant,omitempty"`
	// CEL are conditions over request and response; true fails. Names are
	// unique. Default: none.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	CEL []Expression `json:"cel,omitempty"`
	// Dependencies name what made a model fail, each with its own breaker.
	// Names are unique. Default: none.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	Dependencies []Dependency `json:"dependencies,omitempty"`
	// Request checks fields before the model is asked. Default: none.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Request []RequestCheck `json:"request,omitempty"`
}

// +kubebuilder:validation:XValidation:rule=`(has(self.mode) && self.mode == 'Disabled') || !has(self.paths) || self.paths.all(p, p.matches(r'''^response([.][^.'"\[\]]+|[.]?\[([*]|0|[1-9][0-9]{0,9}|'([^'\\]|\\.)*'|"([^"\\]|\\.)*")\])*$'''))`,message="want paths such as response.predictions[*].score",fieldPath=".paths"

// NonFinite looks at every floating-point output; for protocol JSON at Paths.
type NonFinite struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Paths from the response, such as response.predictions[*].score; only and
	// always with protocol JSON. A path names a value or an array. Default:
	// none.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +kubebuilder:validation:items:MaxLength=1024
	Paths []string `json:"paths,omitempty"`
}

// Broken fails 5xx and what cannot be read.
type Broken struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Statuses from 400 to 499 that fail too, such as 429. Default: none.
	// +kubebuilder:validation:MaxItems=100
	// +listType=set
	// +kubebuilder:validation:items:Minimum=400
	// +kubebuilder:validation:items:Maximum=499
	Statuses []int32 `json:"statuses,omitempty"`
}

// Late has no more than its mode: the deadline is the policy's.
type Late struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
}

// Confidence fails an answer under Min; missing, null, a sentinel or over 1
// is a failure of its own.
type Confidence struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Value is a path from the response, such as response.outputs[0].data; with
	// protocol OpenAI it is logprobs, the probabilities of the tokens, judged
	// where the request asks for them. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self == 'logprobs' || self.matches(r'''^response([.][^.'"\[\]]+|[.]?\[([*]|0|[1-9][0-9]{0,9}|'([^'\\]|\\.)*'|"([^"\\]|\\.)*")\])*$''')`,message="want a path such as response.outputs[0].data"
	Value string `json:"value"`
	// Aggregate of a vector; with protocol OpenAI Min or Mean of the tokens, the
	// mean being the geometric one. Default: Min.
	// +kubebuilder:default=Min
	Aggregate Aggregate `json:"aggregate,omitempty"`
	// Min is the least confidence, 0 to 1. Required.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1
	Min *float64 `json:"min"`
}

// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="want at most max",fieldPath=".min"
// +kubebuilder:validation:XValidation:rule="!has(self.datatype) || !(self.datatype in ['BYTES', 'BOOL']) || (!has(self.min) && !has(self.max))",message="and max bound numbers, and this datatype has none; remove them",fieldPath=".min"
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || size(self.labels) == 0 || !has(self.datatype) || !self.datatype.contains('F')",message="is set, and the datatype is a float; want BYTES or a whole number's, or min and max",fieldPath=".labels"

// Output is one promised output.
type Output struct {
	// Name of the output. With OpenInferenceV1, TensorFlowServing and MLflow a
	// key of each prediction, or empty for the prediction itself; with JSON a
	// path from the response. Default: empty.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:default=""
	Name string `json:"name,omitempty"`
	// Datatype. Default: any.
	Datatype Datatype `json:"datatype,omitempty"`
	// Shape; -1 is any extent. Default: any.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	// +kubebuilder:validation:items:Minimum=-1
	Shape []int64 `json:"shape,omitempty"`
	// Min and Max bound each number, inclusive. Default: no bound.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Labels is the closed set of texts or integers. Default: any.
	// +kubebuilder:validation:MaxItems=4096
	// +listType=atomic
	// +kubebuilder:validation:items:MaxLength=1024
	Labels []string `json:"labels,omitempty"`
	// Optional: may be missing. Default: false.
	Optional bool `json:"optional,omitempty"`
}

// Contract holds an answer to what the model promises.
type Contract struct {
	// Mode, of Outputs too. Default: Enforce.
	// +kubebuilder:default=Enforce
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

// +kubebuilder:validation:XValidation:rule="(has(self.minInputs) ? self.minInputs : 10) <= (has(self.minRequests) ? self.minRequests : 50)",message="want at most minRequests",fieldPath=".minInputs"

// Constant fails when nothing but one prediction was seen within Window, in at
// least MinRequests answers to at least MinInputs different requests.
type Constant struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Window. Default: 1m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="want 1s to 1h"
	// +kubebuilder:default="1m"
	Window *metav1.Duration `json:"window,omitempty"`
	// MinRequests, 2 to 65536. Default: 50.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=65536
	// +kubebuilder:default=50
	MinRequests *int32 `json:"minRequests,omitempty"`
	// MinInputs, 2 to 4096 and at most MinRequests. Default: 10.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=4096
	// +kubebuilder:default=10
	MinInputs *int32 `json:"minInputs,omitempty"`
}

// Expression is one CEL condition over request, response, status,
// request_headers and response_headers.
type Expression struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Name stands in the reason: letters, digits, -, _ and ., 63 at most.
	// Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')",message="want letters, digits, -, _ and ., 63 at most"
	Name string `json:"name"`
	// Expression yields a bool. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	// +kubebuilder:validation:XValidation:rule="self.matches('\\\\S')",message="want a CEL condition, such as status == 503"
	Expression string `json:"expression"`
}

// +kubebuilder:validation:XValidation:rule="!has(self.breaker) || !has(self.breaker.disabled) || !self.breaker.disabled",message="is set, and a dependency is nothing without its breaker; want detect.cel for a mere condition",fieldPath=".breaker.disabled"

// Dependency is something the model depends on, such as feature-store.
type Dependency struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Name stands in the reason, as that of a condition. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')",message="want letters, digits, -, _ and ., 63 at most"
	Name string `json:"name"`
	// Expression tells its failure from the model's answer. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	// +kubebuilder:validation:XValidation:rule="self.matches('\\\\S')",message="want a CEL condition, such as status == 503"
	Expression string `json:"expression"`
	// Breaker of the dependency. Default: 5 failures, 30s, 3.
	Breaker *Breaker `json:"breaker,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="want at most max",fieldPath=".min"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || !(self.type in ['String', 'Boolean', 'Object']) || (!has(self.min) && !has(self.max))",message="and max bound numbers, and this type has none; remove them",fieldPath=".min"
// +kubebuilder:validation:XValidation:rule="!has(self.values) || size(self.values) == 0 || !has(self.type) || self.type == 'String'",message="is a set of texts; want type: String",fieldPath=".values"

// RequestCheck looks at one field of the request.
type RequestCheck struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
	// Field is a path from the request, such as request.inputs[0].data.
	// Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'''^request([.][^.'"\[\]]+|[.]?\[([*]|0|[1-9][0-9]{0,9}|'([^'\\]|\\.)*'|"([^"\\]|\\.)*")\])*$''')`,message="want a path such as request.inputs[0].data"
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
	// +kubebuilder:validation:MaxItems=4096
	// +listType=atomic
	// +kubebuilder:validation:items:MaxLength=1024
	Values []string `json:"values,omitempty"`
	// OnFail. Default: Answer.
	// +kubebuilder:default=Answer
	OnFail OnFail `json:"onFail,omitempty"`
}
