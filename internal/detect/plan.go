package detect

import (
	"strings"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
)

// plan is how the answers of one model are judged: the route's own, or a
// fallback's. Immutable.
type plan struct {
	protocol   policy.Protocol
	servedName string
	// own is false for a fallback: its version is not the one that was asked,
	// and its answers are no evidence on the primary.
	own       bool
	bodyBytes int64 // of an answer, as received
	overLimit policy.Over

	broken   policy.Mode // "": off, as of every mode here
	statuses []int
	late     policy.Mode
	// unreadable is the mode of a body that cannot be read, ambiguous that of
	// one that two readers could read differently.
	unreadable, ambiguous policy.Mode

	nonFinite      policy.Mode
	nonFinitePaths []scan.Path // protocol JSON
	confidences    []confidence
	contract       *policy.Contract
	outputs        []output
	chat           policy.Chat // OpenAI
	conditions     []condition
	dependencies   []condition
	// named says that the policy names outputs, so that a null elsewhere is
	// somebody's optional field.
	named bool
}

// newPlan compiles what the policy asks of a model's answers.
func newPlan(p *policy.Policy, proto policy.Protocol, servedName string) (*plan, error) {
	known := false
	switch proto {
	case policy.OpenInferenceV1, policy.OpenInferenceV2, policy.TensorFlowServing, policy.MLflow, policy.JSON, policy.OpenAI:
		known = true
	case policy.OpenInferenceGRPC:
		known = protocol.GRPC
	}
	if !known {
		return nil, fault.Errorf("%w: %q", ErrProtocol, string(proto))
	}
	t := &plan{
		protocol: proto, servedName: servedName, own: true,
		bodyBytes: p.Limits.BodyBytes, overLimit: p.Limits.ResponseOver,
		contract: p.Detect.Contract,
	}
	if b := p.Detect.Broken; b != nil {
		t.broken, t.statuses = b.Mode, b.Statuses
	}
	if l := p.Detect.Late; l != nil {
		t.late = l.Mode
	}
	if c := p.Detect.Chat; c != nil {
		t.chat = *c
	}
	if n := p.Detect.NonFinite; n != nil {
		t.nonFinite = n.Mode
	}
	for _, compile := range []func(*policy.Policy) error{
		t.compileConfidence, t.compileOutputs, t.compileNonFinite, t.compileConditions,
	} {
		if err := compile(p); err != nil {
			return nil, err
		}
	}
	t.setBodyModes()
	return t, nil
}

// newFallbackPlan compiles the same detection for a fallback model. Its answer
// is used only if it is one, so that what makes an answer unusable is enforced
// whatever the mode for the primary.
func newFallbackPlan(p *policy.Policy, fb *policy.Fallback) (*plan, error) {
	t, err := newPlan(p, fb.Protocol, fb.ServedName)
	if err != nil {
		return nil, err
	}
	t.own = false
	t.broken, t.unreadable, t.ambiguous = policy.Enforce, policy.Enforce, policy.Enforce
	t.bodyBytes, t.overLimit = fb.MaxBytes, policy.OverDefault
	t.dependencies = nil // the primary's
	return t, nil
}

// setBodyModes decides what becomes of an answer that cannot be read. The
// broken detector says so where it is on. Where it is off, an answer that the
// other detectors cannot read is none that they can vouch for: the strictest of
// them decides. An ambiguous answer is decided by the strictest of all.
func (t *plan) setBodyModes() {
	strictest := t.nonFinite
	for i := range t.confidences {
		strictest = stricter(strictest, t.confidences[i].mode)
	}
	if t.contract != nil {
		strictest = stricter(strictest, t.contract.Mode)
	}
	for _, mode := range []policy.Mode{t.chat.Refusal, t.chat.ContentFilter, t.chat.Choices, t.chat.Format} {
		strictest = stricter(strictest, mode)
	}
	for i := range t.conditions {
		strictest = stricter(strictest, t.conditions[i].mode)
	}
	t.unreadable, t.ambiguous = t.broken, stricter(t.broken, strictest)
	if t.broken == "" {
		t.unreadable = strictest
	}
}

func stricter(a, b policy.Mode) policy.Mode {
	if a.Enforces() || b == "" {
		return a
	}
	return b
}

func (t *plan) compileNonFinite(p *policy.Policy) error {
	if t.nonFinite == "" || t.protocol != policy.JSON {
		return nil
	}
	for i, text := range p.Detect.NonFinite.Paths {
		path, err := answerPath(text)
		if err != nil {
			return fault.Errorf("detect.nonFinite.paths[%d]: %w", i, err)
		}
		t.nonFinitePaths = append(t.nonFinitePaths, path)
	}
	if len(t.nonFinitePaths) > 0 {
		return nil
	}
	// No paths: every number that the policy names otherwise.
	for i := range t.confidences {
		t.nonFinitePaths = append(t.nonFinitePaths, t.confidences[i].path)
	}
	for i := range t.outputs {
		if o := &t.outputs[i]; o.numeric() == yes {
			t.nonFinitePaths = append(t.nonFinitePaths, o.path)
		}
	}
	return nil
}

// condition is one CEL expression.
type condition struct {
	mode    policy.Mode
	name    string
	program *expr.Program
}

func (t *plan) compileConditions(p *policy.Policy) error {
	for i, e := range p.Detect.CEL {
		program, err := expr.Decode(e.Program)
		if err != nil {
			return fault.Errorf("detect.cel[%d] %s: %w", i, e.Name, err)
		}
		t.conditions = append(t.conditions, condition{mode: e.Mode, name: e.Name, program: program})
	}
	for i, e := range p.Detect.Dependencies {
		program, err := expr.Decode(e.Program)
		if err != nil {
			return fault.Errorf("detect.dependencies[%d] %s: %w", i, e.Name, err)
		}
		mode := e.Mode
		if mode == "" {
			mode = policy.Enforce
		}
		t.dependencies = append(t.dependencies, condition{mode: mode, name: e.Name, program: program})
	}
	return nil
}

// answerPath reads a path into the answer; request paths begin with request.
func answerPath(text string) (scan.Path, error) { return pathFrom("response", text) }

// pathFrom parses a path and takes its first step off where it names the
// message ("response.outputs[0].data"); what is left is relative to the body's
// root, and empty is the root.
func pathFrom(message, text string) (scan.Path, error) {
	if text == message {
		return scan.Path{}, nil
	}
	if rest, ok := strings.CutPrefix(text, message); ok && (rest[0] == '.' || rest[0] == '[') {
		if _, err := scan.ParsePath(text); err != nil {
			return scan.Path{}, err
		}
		return scan.ParsePath(strings.TrimPrefix(rest, "."))
	}
	return scan.ParsePath(text)
}

// pathText names a path in reasons.
func pathText(p scan.Path) string {
	if p.String() == "" {
		return "body"
	}
	return p.String()
}
