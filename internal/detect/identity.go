package detect

import (
	"bytes"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// checkIdentity compares whose answer it is with whose it should be. Only Open
// Inference V2 says so in its answers.
func (t *plan) checkIdentity(x *Exchange, m *protocol.Message) verdict.Finding {
	if t.contract == nil || !protocol.Tensors(t.protocol) {
		return verdict.Finding{}
	}
	if t.contract.IDEcho {
		if asked := requestID(x, t.protocol); asked.Exists() && !sameText(asked, m.ID) {
			return t.breach(verdict.ContractID, "")
		}
	}
	if t.contract.ModelName && t.servedName != "" && !m.ModelName.EqualText(t.servedName) {
		return t.breach(verdict.ContractModelName, textOf(m.ModelName))
	}
	if want := x.Version.ReportedVersion; t.contract.ModelVersion && t.own && want != "" && !m.ModelVersion.EqualText(want) {
		if m.ModelVersion.Kind() != scan.Number || string(m.ModelVersion.Raw()) != want {
			return t.breach(verdict.ContractModelVersion, textOf(m.ModelVersion))
		}
	}
	return verdict.Finding{}
}

// requestID returns the id that the caller gave, if any. An empty one is none:
// Triton leaves it out of its answer.
func requestID(x *Exchange, p policy.Protocol) scan.Node {
	s := requestSide(x, p)
	if !s.read || s.failure.found() && !s.failure.wellFormed || s.message.ID.Kind() == scan.Null || s.message.ID.EqualText("") {
		return scan.Node{}
	}
	return s.message.ID
}

// sameText compares two strings however they are escaped, or two other values
// byte for byte.
func sameText(a, b scan.Node) bool {
	if bytes.Equal(a.Raw(), b.Raw()) {
		return true
	}
	if a.Kind() != scan.String || b.Kind() != scan.String {
		return false
	}
	var bufA, bufB [64]byte
	return bytes.Equal(a.Text(bufA[:0]), b.Text(bufB[:0]))
}

func textOf(n scan.Node) string {
	switch n.Kind() {
	case scan.Invalid, scan.Null:
		return "none"
	case scan.String:
		return quoted(n.Text(nil))
	}
	return quoted(n.Raw())
}

// RequestID returns the id that a fallback body has to echo, as JSON text with
// its quotes; nil where the protocol has none, the caller gave none, or the
// request's body was not seen.
func (d *Detector) RequestID(x *Exchange) []byte {
	if !protocol.EchoesID(d.policy.Protocol) {
		return nil
	}
	id := requestID(x, d.policy.Protocol)
	if id.Kind() != scan.String && id.Kind() != scan.Number {
		return nil
	}
	return id.Raw()
}

// EchoID returns body, a JSON answer of the policy's protocol, with the id of
// x's request in it. Of a body that was made for another request (a cached
// one) the id is taken out where x's request has none. A body that cannot
// carry an id, and every body of a protocol without ids, is returned as it is;
// a body that is changed is a copy.
func (d *Detector) EchoID(x *Exchange, body []byte) []byte {
	if !protocol.EchoesID(d.policy.Protocol) {
		return body
	}
	out, err := protocol.RewriteID(make([]byte, 0, len(body)+64), body, d.RequestID(x))
	if err != nil {
		return body
	}
	return out
}
