package detect

import (
	"strconv"

	"github.com/safestate/safestate/internal/protocol"
)

// dataPlace names an element of a V2 output's data, or the data itself with
// element -1.
func dataPlace(t *protocol.Tensor, element int) string {
	where := outputPlace(t.Index) + ".data"
	if element >= 0 {
		where += "[" + strconv.Itoa(element) + "]"
	}
	return where
}

func outputPlace(index int) string { return "outputs[" + strconv.Itoa(index) + "]" }

// number writes a value for a reason, short and exact.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// quoted keeps a model's own text short in a reason.
func quoted(b []byte) string {
	if len(b) > longestKey {
		b = b[:longestKey]
	}
	return string(b)
}
