package protocol

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/safestate/safestate/internal/tensor"
)

// maxText bounds what AppendJSON writes: expressions over larger tensors fail.
const maxText = 16 << 20

// AppendJSON appends a message's JSON with the values of its binary tensors
// written into it, as the server would have sent them without the binary
// extension: one flat list under "data". json is what the message was read
// from. Past 16 MiB it stops early, and the text is no JSON.
func AppendJSON(dst, json []byte, m *Message) []byte {
	done, start := 0, len(dst)
	for i := range m.Tensors {
		t := &m.Tensors[i]
		if !t.Binary || t.Datatype == tensor.Unknown {
			continue
		}
		if t.Data.Exists() { // null
			at := t.Data.Offset()
			dst = append(dst, json[done:at]...)
			done = at + len(t.Data.Raw())
		} else {
			at := t.object.Offset() + len(t.object.Raw()) - len("}")
			dst = append(dst, json[done:at]...)
			dst = append(dst, `,"data":`...)
			done = at
		}
		var whole bool
		if dst, whole = appendValues(dst, t, start+maxText); !whole {
			return dst
		}
	}
	return append(dst, json[done:]...)
}

func appendValues(dst []byte, t *Tensor, most int) ([]byte, bool) {
	dst = append(dst, '[')
	n, _ := tensor.Count(t.Datatype, t.Raw)
	rest := t.Raw
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if t.Datatype == tensor.BYTES {
			var elem []byte
			elem, rest, _ = tensor.NextBytes(rest)
			dst = appendText(dst, elem)
		} else {
			dst = appendElement(dst, t, i)
		}
		if len(dst) > most {
			return dst, false
		}
	}
	return append(dst, ']'), true
}

// appendElement writes element i of a tensor that is no BYTES. A float64 does
// not hold every 64-bit integer.
func appendElement(dst []byte, t *Tensor, i int) []byte {
	switch t.Datatype {
	case tensor.INT64:
		return strconv.AppendInt(dst, int64(binary.LittleEndian.Uint64(t.Raw[8*i:])), 10)
	case tensor.UINT64:
		return strconv.AppendUint(dst, binary.LittleEndian.Uint64(t.Raw[8*i:]), 10)
	}
	return appendNumber(dst, t.Datatype, tensor.At(t.Datatype, t.Raw, i))
}

func appendNumber(dst []byte, t tensor.Type, v float64) []byte {
	switch {
	case t == tensor.BOOL:
		return strconv.AppendBool(dst, v != 0)
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	case t.Float():
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendText appends b as a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendText(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
		b = b[n:]
	}
	return append(dst, '"')
}
