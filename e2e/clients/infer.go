package clients

import "testing"

// Triton is a process with tritonclient's gRPC half. It is safe for concurrent
// use and asks one call at a time, each by a connection of its own.
type Triton struct{ script *script }

// StartTriton starts one that asks host:port until the test ends.
func StartTriton(t testing.TB, address string) *Triton {
	t.Helper()
	return &Triton{script: python(t, "infer.py", address)}
}

// What a call asks for.
const (
	OpInfer  = "infer"  // ModelInfer
	OpStream = "stream" // ModelStreamInfer
	OpAbout  = "about"  // live, ready and metadata
)

// Infer is one call.
type Infer struct {
	Op       string            `json:"op,omitempty"` // empty: OpInfer
	Address  string            `json:"address,omitempty"`
	Model    string            `json:"model"`
	ID       string            `json:"id,omitempty"`
	Rows     [][]float32       `json:"rows,omitempty"` // of four features; empty: one row
	Header   map[string]string `json:"headers,omitempty"`
	Seconds  float64           `json:"timeout,omitempty"`  // 0: 30
	Outputs  []string          `json:"outputs,omitempty"`  // to read; empty: all that came
	Messages int               `json:"messages,omitempty"` // of OpStream; 0: 1
}

// InferOutcome is what the library made of the answers.
type InferOutcome struct {
	Answers []Answer `json:"answers"` // one; of OpStream one a message
	About   *About   `json:"about"`
	Raised  *Raised  `json:"raised"` // nil: the library took the answer
}

// Answer is one ModelInferResponse.
type Answer struct {
	ID      string             `json:"id"`
	Model   string             `json:"model"`
	Version string             `json:"version"`
	Outputs map[string]*Output `json:"outputs"` // nil: an output that was to be read is not there
}

// Output is one output as a NumPy array. Values are float64, string or bool;
// NaN and infinities are the strings nan, inf and -inf.
type Output struct {
	Dtype  string  `json:"dtype"`
	Shape  []int   `json:"shape"`
	Values []any   `json:"values"`
	Raised *Raised `json:"raised"` // what as_numpy raised; nil: it made an array
}

// About is what a server and a model say of themselves.
type About struct {
	Live     bool     `json:"live"`
	Ready    bool     `json:"ready"`
	Metadata []string `json:"metadata"` // names of outputs
}

// Ask makes one call and waits for its end.
func (c *Triton) Ask(t testing.TB, q Infer) InferOutcome {
	t.Helper()
	var out InferOutcome
	c.script.call(t, q, &out)
	return out
}
