package detect

import "github.com/safestate/safestate/internal/scan"

// RequestParts returns the request's JSON and the bytes behind it where it has
// binary tensors (nil: none), inflated. ok is false where the body has not been
// seen or cannot be read. It is valid until x is Reset.
func (d *Detector) RequestParts(x *Exchange) (root scan.Node, tail []byte, ok bool) {
	s := requestSide(x, d.policy.Protocol)
	if !s.read || s.failure.found() {
		return scan.Node{}, nil, false
	}
	return s.doc.Root(), s.tail, true
}

// AnswerParts returns the answer's body in identity encoding: its JSON and the
// bytes behind it, as in RequestParts.
func (d *Detector) AnswerParts(x *Exchange) (json, tail []byte, ok bool) {
	s := answerSide(&x.response, d.own.protocol, x.ResponseHeaders, x.ResponseBody)
	if s.failure.found() {
		return nil, nil, false
	}
	return s.json, s.tail, true
}
