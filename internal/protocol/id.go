package protocol

import (
	"bytes"
	"errors"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
)

// ErrNoObject is returned for a body that cannot carry an id.
var ErrNoObject = errors.New("the body is no JSON object with one id at most")

// EchoesID reports whether a protocol's answers carry their request's id.
func EchoesID(p policy.Protocol) bool { return Tensors(p) }

// RewriteID appends body to dst with its top-level id set to id, a JSON string
// with its quotes as the request had it; with id empty the body's id is taken
// out: it belongs to another request. The rest of the body stays byte for
// byte. The error is ErrNoObject, or a *scan.Error for a body that is no JSON.
func RewriteID(dst, body, id []byte) ([]byte, error) {
	var d scan.Document
	if err := d.Parse(body, scan.Limits{}); err != nil {
		return nil, err
	}
	root := d.Root()
	if root.Kind() != scan.Object || root.Ambiguous("id") {
		return nil, ErrNoObject
	}
	old, _ := root.Get("id")
	switch {
	case old.Exists() && len(id) > 0:
		at := old.Offset()
		dst = append(dst, body[:at]...)
		dst = append(dst, id...)
		return append(dst, body[at+len(old.Raw()):]...), nil
	case old.Exists():
		from, to := member(body, old)
		dst = append(dst, body[:from]...)
		return append(dst, body[to:]...), nil
	case len(id) == 0:
		return append(dst, body...), nil
	}
	at := root.Offset() + len("{")
	dst = append(dst, body[:at]...)
	dst = append(append(dst, `"id":`...), id...)
	if root.Len() > 0 {
		dst = append(dst, ',')
	}
	return append(dst, body[at:]...), nil
}

// member finds the bytes of an object's member from its value, with the comma
// that would be left over. The key has no escaped quote: it reads id.
func member(body []byte, value scan.Node) (from, to int) {
	from, to = value.Offset(), value.Offset()+len(value.Raw())
	from = bytes.LastIndexByte(body[:from], ':')
	from = bytes.LastIndexByte(body[:from], '"')
	from = bytes.LastIndexByte(body[:from], '"')
	after := skipBlank(body, to)
	if after < len(body) && body[after] == ',' {
		return from, after + 1
	}
	before := from - 1
	for before > 0 && blank(body[before]) {
		before--
	}
	if body[before] == ',' {
		from = before
	}
	return from, to
}

func skipBlank(b []byte, i int) int {
	for i < len(b) && blank(b[i]) {
		i++
	}
	return i
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
