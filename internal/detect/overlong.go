package detect

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// maxNumber is the most characters that a number in an inspected place may
// have: the longest text that any server prints for a float64 has 25.
const maxNumber = 64

// findOverlong finds a number of more than maxNumber characters where the
// answer is inspected. Elsewhere a number may be as long as it likes.
func (t *plan) findOverlong(m *protocol.Message) verdict.Finding {
	offset := -1
	look := func(n scan.Node) bool {
		if offset < 0 {
			offset = overlong(n)
		}
		return offset < 0
	}
	switch t.protocol {
	case policy.OpenInferenceV2, policy.OpenInferenceGRPC:
		for i := range m.Tensors {
			if !look(m.Tensors[i].Data) {
				break
			}
		}
	case policy.JSON:
		for i := range t.nonFinitePaths {
			t.nonFinitePaths[i].Walk(m.Root, look)
		}
		for i := range t.outputs {
			t.outputs[i].path.Walk(m.Root, look)
		}
	default:
		look(m.Rows)
	}
	for i := range t.confidences {
		if c := &t.confidences[i]; !c.data.ok {
			c.path.Walk(m.Root, look)
		}
	}
	if offset < 0 {
		return verdict.Finding{}
	}
	f := at(verdict.BrokenNumber, offset)
	return found(t.unreadable, f.code, f.detail)
}

// overlong returns the offset of the first overlong number in n, -1 for none.
func overlong(n scan.Node) int {
	if len(n.Raw()) <= maxNumber {
		return -1
	}
	if _, flat := n.Numbers(); flat {
		return overlongIn(n)
	}
	var w walker
	w.start(n)
	for v, ok := w.next(); ok; v, ok = w.next() {
		if len(v.Raw()) <= maxNumber {
			continue
		}
		if v.Kind() == scan.Number {
			return v.Offset()
		}
		if _, flat := v.Numbers(); flat {
			if at := overlongIn(v); at >= 0 {
				return at
			}
		}
	}
	return -1
}

// overlongIn looks at a flat array without reading it all: a number is too
// long if no comma, blank or bracket stands within maxNumber+1 bytes. From a
// separator it jumps that far and goes back to the last separator before.
func overlongIn(n scan.Node) int {
	raw := n.Raw()
	for begin := 0; begin+maxNumber+1 < len(raw); {
		at := begin + maxNumber + 1
		for at > begin && !separates(raw[at]) {
			at--
		}
		if at == begin {
			return n.Offset() + begin + 1
		}
		begin = at
	}
	return -1
}

func separates(c byte) bool { return c == ',' || c == ']' || c <= ' ' }
