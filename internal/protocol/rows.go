package protocol

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
)

// readRows reads an answer of Open Inference V1, TensorFlow Serving or MLflow.
func (m *Message) readRows(root scan.Node) Problem {
	if root.Kind() == scan.Array && m.Protocol == policy.MLflow {
		m.Rows = root // MLflow 1 sends the list itself
		return someValue(root, "body")
	}
	if root.Kind() != scan.Object {
		return notAnObject(root)
	}
	fields := [...]scan.Field{{Name: "predictions"}, {Name: "outputs"}, {Name: "results"}, {Name: "error"}, {Name: "error_code"}, {Name: "detail"}}
	if dup := scan.Collect(root, fields[:]); dup != "" {
		return problem(Duplicate, dup)
	}
	if scan.Says(fields[3].Node) {
		return problem(ErrorObject, "error")
	}
	row := 0
	if m.Protocol == policy.TensorFlowServing {
		for row < 2 && !scan.Present(fields[row].Node) {
			row++
		}
	}
	if !scan.Present(fields[row].Node) {
		for _, f := range fields[4:] {
			if scan.Says(f.Node) {
				return problem(ErrorObject, f.Name)
			}
		}
		return problem(Empty, "predictions")
	}
	m.Rows, m.RowsKey, m.Columnar = fields[row].Node, fields[row].Name, row == 1
	return someValue(m.Rows, m.RowsKey)
}

// maxDepth is the scanner's own limit on nesting.
const maxDepth = 64

// someValue looks for one prediction: a value that is neither an object nor an
// array, or an empty array inside of root, which is the answer of a model that
// found nothing.
func someValue(root scan.Node, key string) Problem {
	var stack [maxDepth]scan.Iter
	depth := 0
	for n := root; ; {
		if n.Kind() != scan.Object && n.Kind() != scan.Array || depth > 0 && n.Kind() == scan.Array && n.Len() == 0 {
			return Problem{}
		}
		if depth == maxDepth {
			return Problem{} // deeper than the scanner lets pass; there is something
		}
		stack[depth] = n.Children()
		depth++
		for !stack[depth-1].Next() {
			depth--
			if depth == 0 {
				return problem(Empty, key)
			}
		}
		n = stack[depth-1].Value()
	}
}
