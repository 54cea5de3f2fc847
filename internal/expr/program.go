package expr

import (
	"sync"

	"github.com/safestate/safestate/internal/scan"
)

// Bounds of a program, checked by Decode, and of one evaluation.
const (
	MaxWire  = 8 << 10 // bytes of the wire form: half of what a whole policy may take
	MaxNodes = 1024    // operators and literals
	MaxDepth = 64      // operators inside operators
	MaxVars  = 8       // comprehensions inside comprehensions
	// MaxSteps bounds one evaluation. An operator is a step, as is each round
	// of a comprehension, each element compared and every 16 bytes of text
	// copied or compared; an element that is stored costs 4. A simple condition
	// on each number of a 1 MiB array fits. At the very worst it is about
	// 100 ms of work and 40 MB.
	MaxSteps = 1 << 21
)

// Headers gives the first value of a header by its lower-case name.
type Headers interface {
	Get(name string) (string, bool)
}

// Env is what an expression can see. A node that does not exist (no body, or
// not JSON) makes every use of that variable an error. Nil headers are empty.
type Env struct {
	Request, Response               scan.Node
	Status                          int // of the answer; 0 where there is none
	RequestHeaders, ResponseHeaders Headers
}

// Program is a decoded expression. It is immutable and safe for concurrent
// use; an Env is not (its documents are not).
type Program struct {
	root node
}

// node is one operator of the tree. Errors are values, because && and ||
// absorb them.
type node interface {
	eval(f *frame) value
}

// frame is the state of one evaluation.
type frame struct {
	env       *Env
	steps     int // left
	exhausted bool
	vars      [MaxVars]value
}

var frames = sync.Pool{New: func() any { return new(frame) }}

// Bool evaluates the program. The error, an *Error, says why there is no
// answer: the expression failed (a missing key, an overflow, …), gave something
// other than a bool, or did too much.
func (p *Program) Bool(env *Env) (bool, error) {
	f := frames.Get().(*frame)
	f.env, f.steps, f.exhausted = env, MaxSteps, false
	v := p.root.eval(f)
	exhausted := f.exhausted
	f.env = nil
	clear(f.vars[:]) // keep no document alive
	frames.Put(f)
	switch {
	case exhausted:
		return false, &Error{Code: TooMuch}
	case v.kind == kindBool:
		return v.num != 0, nil
	case v.kind == kindError:
		return false, &Error{Code: Code(v.num), Detail: v.text}
	}
	return false, &Error{Code: NotBool, Detail: v.kind.String()}
}

// spend takes n steps. False means that the budget is gone: return any error
// value, it will not be looked at.
func (f *frame) spend(n int) bool {
	f.steps -= n
	if f.steps < 0 {
		f.exhausted = true
	}
	return !f.exhausted
}

// spendText takes the steps for handling n bytes of text.
func (f *frame) spendText(n int) bool { return f.spend(n >> 4) }
