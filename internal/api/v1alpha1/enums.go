package v1alpha1

// Every enumeration lists its values, so that a loader can name what would
// have been right.

// +kubebuilder:validation:Enum=Observe;Enforce

// PolicyMode says what is done with failed verdicts.
type PolicyMode string

// The modes of a policy.
const (
	PolicyObserve PolicyMode = "Observe" // count what would have been done
	PolicyEnforce PolicyMode = "Enforce" // do it
)

// Values lists the modes of a policy.
func (PolicyMode) Values() []string { return []string{"Observe", "Enforce"} }

// +kubebuilder:validation:Enum=Processor;WASM;Both

// Host says what judges a route's answers.
type Host string

// The hosts.
const (
	HostProcessor Host = "Processor" // the external processor
	HostWASM      Host = "WASM"      // the WASM filter inside the proxy
	HostBoth      Host = "Both"      // the processor, and the filter for what it has not judged
)

// Values lists the hosts.
func (Host) Values() []string { return []string{"Processor", "WASM", "Both"} }

// +kubebuilder:validation:Enum=Observe;Enforce;Disabled

// Mode says what is done with one detector's failed verdict. The third state
// is spelled Disabled, since readers of YAML 1.1 turn Off into a boolean.
type Mode string

// The modes of a detector.
const (
	Observe  Mode = "Observe"  // count what would have been done
	Enforce  Mode = "Enforce"  // do it
	Disabled Mode = "Disabled" // look away
)

// Values lists the modes of a detector.
func (Mode) Values() []string { return []string{"Observe", "Enforce", "Disabled"} }

// +kubebuilder:validation:Enum=OpenInferenceV1;OpenInferenceV2;OpenAI;TensorFlowServing;MLflow;JSON

// Protocol names how a model's requests and answers are shaped.
type Protocol string

// The protocols. Behind a GRPCRoute a model of OpenInferenceV2 speaks the Open
// Inference Protocol over gRPC.
const (
	OpenInferenceV1   Protocol = "OpenInferenceV1"
	OpenInferenceV2   Protocol = "OpenInferenceV2"
	OpenAI            Protocol = "OpenAI"
	TensorFlowServing Protocol = "TensorFlowServing"
	MLflow            Protocol = "MLflow"
	JSON              Protocol = "JSON"
)

// Values lists the protocols.
func (Protocol) Values() []string {
	return []string{"OpenInferenceV1", "OpenInferenceV2", "OpenAI", "TensorFlowServing", "MLflow", "JSON"}
}

// +kubebuilder:validation:Enum=Min;Mean;Max;Margin

// Aggregate folds a vector of probabilities into one confidence.
type Aggregate string

// The aggregates.
const (
	Min    Aggregate = "Min"
	Mean   Aggregate = "Mean"
	Max    Aggregate = "Max"
	Margin Aggregate = "Margin" // the largest less the second largest
)

// Values lists the aggregates.
func (Aggregate) Values() []string { return []string{"Min", "Mean", "Max", "Margin"} }

// +kubebuilder:validation:Enum=Answer;Reject;Pass

// OnFail says what a failed request check does.
type OnFail string

// What a failed request check does.
const (
	Answer OnFail = "Answer" // from the ladder, without asking the model
	Reject OnFail = "Reject" // 400 that names the field
	Pass   OnFail = "Pass"   // to the model, counted
)

// Values lists what a failed request check can do.
func (OnFail) Values() []string { return []string{"Answer", "Reject", "Pass"} }

// +kubebuilder:validation:Enum=Answer;Pass

// ResponseOver says what happens to an answer over the body limit.
type ResponseOver string

// What happens to an answer over the limit.
const (
	ResponseAnswer ResponseOver = "Answer" // from the ladder
	ResponsePass   ResponseOver = "Pass"   // it passes uninspected, counted
)

// Values lists what can happen to an answer over the limit.
func (ResponseOver) Values() []string { return []string{"Answer", "Pass"} }

// +kubebuilder:validation:Enum=OnFailure;First

// When says when a cache is asked.
type When string

// When a cache is asked.
const (
	OnFailure When = "OnFailure" // once the model failed
	First     When = "First"     // before the model, under the stable version's key
)

// Values lists when a cache can be asked.
func (When) Values() []string { return []string{"OnFailure", "First"} }

// +kubebuilder:validation:Enum=Answer;Refuse

// BudgetOver says what happens past the fallback budget.
type BudgetOver string

// What happens past the fallback budget.
const (
	BudgetAnswer BudgetOver = "Answer" // from the ladder all the same, counted
	BudgetRefuse BudgetOver = "Refuse" // 503
)

// Values lists what can happen past the fallback budget.
func (BudgetOver) Values() []string { return []string{"Answer", "Refuse"} }

// +kubebuilder:validation:Enum=Auto;Open;Closed;Observe

// BreakerState is what a breaker is held at by hand.
type BreakerState string

// What a breaker is held at.
const (
	BreakerAuto    BreakerState = "Auto"    // by nothing: it decides
	BreakerOpen    BreakerState = "Open"    // nothing is asked
	BreakerClosed  BreakerState = "Closed"  // everything is asked, nothing is counted
	BreakerObserve BreakerState = "Observe" // everything is asked, what would have been refused is counted
)

// Values lists what a breaker can be held at.
func (BreakerState) Values() []string { return []string{"Auto", "Open", "Closed", "Observe"} }

// +kubebuilder:validation:Enum=SafeDefault;Pass

// Away says what the proxy does while no processor answers.
type Away string

// What the proxy does while no processor answers.
const (
	AwaySafeDefault Away = "SafeDefault" // fail closed: the static default
	AwayPass        Away = "Pass"        // fail open: the model's answer, uninspected
)

// Values lists what the proxy can do while no processor answers.
func (Away) Values() []string { return []string{"SafeDefault", "Pass"} }

// +kubebuilder:validation:Enum=Unavailable;Answer

// GRPCLastRung says what the proxy alone answers a gRPC call.
type GRPCLastRung string

// What the proxy alone answers a gRPC call.
const (
	GRPCUnavailable GRPCLastRung = "Unavailable" // status UNAVAILABLE
	GRPCAnswer      GRPCLastRung = "Answer"      // the static default, as a message with status OK
)

// Values lists what the proxy alone can answer a gRPC call.
func (GRPCLastRung) Values() []string { return []string{"Unavailable", "Answer"} }

// +kubebuilder:validation:Enum=Number;Integer;String;Boolean;Array;Object

// FieldType is the JSON type of a request's field.
type FieldType string

// The types of a request's field.
const (
	Number  FieldType = "Number"
	Integer FieldType = "Integer" // a number without a fraction
	String  FieldType = "String"
	Boolean FieldType = "Boolean"
	Array   FieldType = "Array"
	Object  FieldType = "Object"
)

// Values lists the types of a request's field.
func (FieldType) Values() []string {
	return []string{"Number", "Integer", "String", "Boolean", "Array", "Object"}
}

// +kubebuilder:validation:Enum=BOOL;UINT8;UINT16;UINT32;UINT64;INT8;INT16;INT32;INT64;FP16;BF16;FP32;FP64;BYTES

// Datatype is an output's element type, by its Open Inference name.
type Datatype string

// Values lists the datatypes.
func (Datatype) Values() []string {
	return []string{"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
		"FP16", "BF16", "FP32", "FP64", "BYTES"}
}

// +kubebuilder:validation:Enum=Rollback;Disabled

// Automatic says what is done about a version that fails by itself. The other
// state is spelled Disabled, as that of Mode.
type Automatic string

// What is done about a version that fails.
const (
	AutomaticRollback Automatic = "Rollback" // the last good version is back
	AutomaticDisabled Automatic = "Disabled" // it is said and nothing is done
)

// Values lists what can be done about a version that fails.
func (Automatic) Values() []string { return []string{"Rollback", "Disabled"} }

// +kubebuilder:validation:Enum=Service;InferencePool

// BackendKind is what a version stands behind.
type BackendKind string

// What a version can stand behind.
const (
	BackendService       BackendKind = "Service"
	BackendInferencePool BackendKind = "InferencePool" // of the Gateway API's inference extension
)

// Values lists what a version can stand behind.
func (BackendKind) Values() []string { return []string{"Service", "InferencePool"} }

// +kubebuilder:validation:Enum=Safestate;External

// WeightsBy says who moves a model's weights.
type WeightsBy string

// Who moves weights.
const (
	WeightsSafestate WeightsBy = "Safestate"
	WeightsExternal  WeightsBy = "External" // somebody else, such as Flagger: safestate starts no rollout and rolls nothing back
)

// Values lists who can move weights.
func (WeightsBy) Values() []string { return []string{"Safestate", "External"} }

// +kubebuilder:validation:Enum=Manual

// Gate holds a rollout at the end of a step.
type Gate string

// GateManual goes on when a person says so.
const GateManual Gate = "Manual"

// Values lists the gates.
func (Gate) Values() []string { return []string{"Manual"} }
