package detect

import (
	"hash/maphash"
	"runtime"
	"strconv"
	"sync"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
)

// Bounds of the constant-answer detector's memory, per policy.
const (
	maxConstantRequests = 1 << 16 // 8 bytes each and version
	maxConstantInputs   = 1 << 12 // 32 bytes each and version
	maxConstantVersions = 64
)

// constant finds a version that gives the same prediction whatever it is asked.
// It looks at the outputs only: ids and timestamps differ in any answer.
type constant struct {
	cfg  *policy.Constant
	seed maphash.Seed

	mu       sync.Mutex
	versions map[string]*run
}

// learns reports whether this build has detectors that compare many answers. The WASM
// filter, of which each worker sees a few, is not made for policies that ask for one;
// beside a processor that part is the processor's.
const learns = runtime.GOOS != "wasip1"

func newConstant(cfg *policy.Constant) (*constant, error) {
	switch {
	case cfg.MinRequests < 1 || cfg.MinRequests > maxConstantRequests:
		return nil, fault.Errorf("detect.constant.minRequests: %d is not between 1 and %d", cfg.MinRequests, maxConstantRequests)
	case cfg.MinInputs < 1 || cfg.MinInputs > maxConstantInputs:
		return nil, fault.Errorf("detect.constant.minInputs: %d is not between 1 and %d", cfg.MinInputs, maxConstantInputs)
	case cfg.Window <= 0:
		return nil, fault.Errorf("detect.constant.window: %s is not above 0", cfg.Window.D())
	}
	return &constant{cfg: cfg, seed: maphash.MakeSeed(), versions: map[string]*run{}}, nil
}

// observe counts one clean answer and says whether its version is constant. An
// answer whose request's body was not seen says nothing of inputs and is not
// counted.
func (c *constant) observe(x *Exchange, t *plan, now time.Time) verdict.Finding {
	input := requestSide(x, t.protocol)
	if !input.read {
		return verdict.Finding{}
	}
	prediction := c.prediction(t, &x.response.message)
	asked := c.input(x, input)

	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.versions[x.Version.Name]
	if r == nil {
		if len(c.versions) >= maxConstantVersions {
			clear(c.versions) // of names long gone; what is alive is back soon
		}
		r = &run{times: make([]int64, c.cfg.MinRequests), inputs: make([]inputSeen, 0, c.cfg.MinInputs)}
		c.versions[x.Version.Name] = r
	}
	requests, inputs := r.add(prediction, asked, now.UnixNano(), int64(c.cfg.Window))
	if requests < c.cfg.MinRequests || inputs < c.cfg.MinInputs {
		return verdict.Finding{}
	}
	return found(c.cfg.Mode, verdict.ConstantAnswer, strconv.Itoa(requests)+" answers to "+strconv.Itoa(inputs)+" inputs")
}

// prediction hashes what the answer predicts: the outputs, or for JSON the
// places that the policy names, and the whole answer where it names none; of a
// completion what its choices say, without its id and date.
func (c *constant) prediction(t *plan, m *protocol.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	switch t.protocol {
	case policy.OpenInferenceV2, policy.OpenInferenceGRPC:
		writeTensors(&h, m.Tensors)
	case policy.JSON:
		places := 0
		write := func(n scan.Node) bool {
			writePart(&h, n.Raw())
			places++
			return true
		}
		for i := range t.outputs {
			t.outputs[i].path.Walk(m.Root, write)
		}
		for i := range t.nonFinitePaths {
			t.nonFinitePaths[i].Walk(m.Root, write)
		}
		for i := range t.confidences {
			t.confidences[i].path.Walk(m.Root, write)
		}
		if places == 0 {
			writePart(&h, m.Root.Raw())
		}
	case policy.OpenAI:
		for i := range m.Completion.Choices {
			ch := &m.Completion.Choices[i]
			writePart(&h, ch.Content.Raw())
			writePart(&h, ch.ToolCalls.Raw())
		}
	default:
		writePart(&h, m.Rows.Raw())
	}
	return h.Sum64()
}

// input hashes what was asked, without the request's id.
func (c *constant) input(x *Exchange, s *side) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	switch {
	case s.failure.found():
		writePart(&h, x.RequestBody)
	case protocol.Tensors(s.message.Protocol):
		writeTensors(&h, s.message.Tensors)
	default:
		writePart(&h, s.message.Rows.Raw())
	}
	return h.Sum64()
}

func writeTensors(h *maphash.Hash, tensors []protocol.Tensor) {
	for i := range tensors {
		t := &tensors[i]
		writePart(h, t.Name.Raw())
		writePart(h, t.Data.Raw())
		writePart(h, t.Raw)
	}
}

// writePart keeps parts apart: a length goes before each.
func writePart(h *maphash.Hash, b []byte) {
	n := uint64(len(b))
	var size [8]byte
	for i := range size {
		size[i] = byte(n >> (8 * i))
	}
	_, _ = h.Write(size[:]) // never fails
	_, _ = h.Write(b)
}

// run is the answers of one version since its last other prediction. Its times
// are those of the last answers, in a ring; its inputs the last different ones.
// Not safe for concurrent use.
type run struct {
	prediction uint64
	count      int // times in the ring
	next       int
	times      []int64
	inputs     []inputSeen
}

type inputSeen struct {
	hash uint64
	last int64
}

// add counts one answer at a time in nanoseconds and returns how many answers
// and how many different inputs of the run are within the window, each up to
// what the ring holds. Another prediction begins a new run.
func (r *run) add(prediction, input uint64, now, window int64) (requests, inputs int) {
	if r.count == 0 || r.prediction != prediction {
		r.prediction, r.count, r.next, r.inputs = prediction, 0, 0, r.inputs[:0]
	}
	r.times[r.next] = now
	r.next = (r.next + 1) % len(r.times)
	r.count = min(r.count+1, len(r.times))
	r.meet(input, now)

	oldest := now - window
	for i := range r.count {
		if r.times[i] >= oldest {
			requests++
		}
	}
	for _, in := range r.inputs {
		if in.last >= oldest {
			inputs++
		}
	}
	return requests, inputs
}

// meet notes an input; a new one takes the place of the one not met for the
// longest time.
func (r *run) meet(input uint64, now int64) {
	longest := 0
	for i := range r.inputs {
		if r.inputs[i].hash == input {
			r.inputs[i].last = now
			return
		}
		if r.inputs[i].last < r.inputs[longest].last {
			longest = i
		}
	}
	seen := inputSeen{hash: input, last: now}
	if len(r.inputs) < cap(r.inputs) {
		r.inputs = append(r.inputs, seen)
		return
	}
	r.inputs[longest] = seen
}
