package detect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/verdict"
)

// head is what status, headers and code details say of an answer.
type head struct {
	finding verdict.Finding
	pass    verdict.Pass
	// end says that there is no body worth judging: the answer is none of the
	// model's, an error, or too large to be read.
	end bool
	// failure says that it is an error of the model's, which conditions on the
	// answer may explain.
	failure bool
}

// judgeHead decides what can be decided without the body. length is the body's
// length in bytes, -1 where it is not known. stream says that the answer may be
// a stream of events, which is read as it comes: its length is no matter, and
// an encoding would have to be undone piece by piece.
func (t *plan) judgeHead(status int, details string, h Headers, length int64, stream bool) head {
	if top := t.judgeStatus(status, details); top.end {
		return top
	}
	kind := header(h, "content-type")
	stream = stream && protocol.EventStream(kind)
	switch {
	case status == 204 || status == 205 || length == 0:
		return head{finding: found(t.unreadable, verdict.BrokenEmpty, "body"), end: true}
	case length > t.bodyBytes && !stream:
		return t.over(length)
	}
	if encoding := header(h, "content-encoding"); !inflate.Known(encoding) || stream && !inflate.Identity(encoding) {
		return head{finding: found(t.unreadable, verdict.BrokenEncoding, quoted([]byte(encoding))), end: true}
	}
	if !stream && !protocol.ContentType(t.protocol, kind, header(h, protocol.HeaderLength) != "") {
		return head{finding: found(t.broken, verdict.BrokenContentType, quoted([]byte(kind)))}
	}
	return head{}
}

// judgeStatus decides what code details and status decide, however long the
// body is; end is false for an answer that claims to be one.
func (t *plan) judgeStatus(status int, details string) head {
	if c := causeOf(details); c.foreign {
		return head{pass: verdict.Foreign, end: true}
	} else if c.code != "" {
		return head{finding: found(t.modeOf(c.code), c.code, details), end: true}
	}
	switch {
	case slices.Contains(t.statuses, status), status >= 500, status < 200, status >= 300 && status < 400:
		// A redirect is no answer to an inference request, and where it leads
		// nobody inspects.
		return head{finding: found(t.broken, verdict.BrokenStatus, strconv.Itoa(status)), end: true, failure: true}
	case status >= 400 && t.own:
		return head{pass: verdict.CallerError, end: true}
	case status >= 400:
		// The caller never asked the fallback model: its objections are not
		// the caller's.
		return head{finding: found(t.broken, verdict.BrokenStatus, strconv.Itoa(status)), end: true}
	}
	return head{}
}

// over is the policy's word on an answer over its size limit. length is in
// bytes; one within the limit says that it is not known.
func (t *plan) over(length int64) head {
	if t.overLimit == policy.OverPass || t.unreadable == "" {
		return head{pass: verdict.ResponseOverLimit, end: true}
	}
	detail := "limit " + strconv.FormatInt(t.bodyBytes, 10)
	if length > t.bodyBytes {
		detail = strconv.FormatInt(length, 10) + " > " + strconv.FormatInt(t.bodyBytes, 10)
	}
	return head{finding: found(t.unreadable, verdict.BrokenTooLarge, detail), end: true}
}

// modeOf returns the mode of a reply that Envoy made for the model.
func (t *plan) modeOf(c verdict.Code) policy.Mode {
	if c == verdict.LateAnswer {
		return t.late
	}
	return t.broken
}

// ContentLength reads the header; -1 where it is missing or no number.
func ContentLength(h Headers) int64 {
	text := header(h, "content-length")
	if text == "" {
		return -1 // ParseInt would allocate an error
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// readable turns a body that could not be read into a finding.
func (t *plan) readable(s *side) verdict.Finding {
	f := s.failure
	if !f.found() {
		return verdict.Finding{}
	}
	mode := t.unreadable
	switch {
	case f.ambiguous:
		mode = t.ambiguous
	case f.code == verdict.BrokenErrorObject:
		mode = t.broken
	}
	return found(mode, f.code, f.detail)
}

// errorObject finds, in an answer of any JSON, nothing but an error: the key
// error holds a text or an object, and no place that the policy names is there.
func (t *plan) errorObject(m *protocol.Message) verdict.Finding {
	if t.protocol != policy.JSON || !protocol.TellsError(m.Root) || t.anyPlace(m) {
		return verdict.Finding{}
	}
	return found(t.broken, verdict.BrokenErrorObject, "error")
}

// anyPlace reports whether a place that the policy names exists.
func (t *plan) anyPlace(m *protocol.Message) bool {
	for i := range t.nonFinitePaths {
		if v, _ := t.nonFinitePaths[i].First(m.Root); v.Exists() {
			return true
		}
	}
	for i := range t.confidences {
		if v, _ := t.confidences[i].path.First(m.Root); v.Exists() {
			return true
		}
	}
	for i := range t.outputs {
		if v, _ := t.outputs[i].path.First(m.Root); v.Exists() {
			return true
		}
	}
	return false
}
