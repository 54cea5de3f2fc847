package rules

import (
	"errors"
	"math"
	"strconv"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/scan"
)

// MaxFilled bounds a filled template, in bytes: a request may be spliced in
// more than once.
const MaxFilled = 8 << 20

// ErrUnfilled is wrapped by every error of Fill.
var ErrUnfilled = errors.New("the template cannot be filled")

// Template is JSON text with placeholders, compiled. It is immutable and safe
// for concurrent use.
//
//	{{score}}         the score, always with a fraction: 0.9, 1.0
//	{{confidence}}    the constant of the policy
//	{{reasons}}       the reasons that hold, an array of texts
//	{{count reasons}} how many they are
//	{{id}}            the request's id, a text. Where the request has none, the
//	                  member that it is the value of is left out with its comma;
//	                  anywhere else it is null
//	{{request}}       the request's body as it came
//	{{request.PATH}}  one value of it, such as request.inputs[0].data
//	{{LIST}}          an array of the request, one of
//	                      request.PATH
//	                      sort LIST by FIELD asc, or desc
//	                      first N LIST
//	                      pick FIELD from LIST
//	{{count LIST}}    the number of its elements
//
// sort is stable. Numbers come before texts, texts are compared byte by byte
// (times of one ISO 8601 format and zone are in order), and elements without
// the field come last either way. A path that the request does not have, or
// has twice, is an error, as is an element without the field that pick asks
// for.
type Template struct {
	parts []part
	needs needs
}

// needs says what a template asks for beside the constants.
type needs struct{ request, score bool }

// NeedsRequest reports whether filling it takes the request's body.
func (t *Template) NeedsRequest() bool { return t.needs.request }

// NeedsScore reports whether it names score, confidence or reasons, which only
// a decision table has.
func (t *Template) NeedsScore() bool { return t.needs.score }

// Values are what a template is filled with.
type Values struct {
	Score, Confidence float64 // finite
	Reasons           []string
	Request           scan.Node // does not exist where there is no JSON body
}

// part is a piece of the template: text, then perhaps a placeholder.
type part struct {
	text string
	fill filler // nil: nothing
	// A member that goes away without its value: text up to keep stays, the
	// rest (its name), and skip bytes of the next part's text (its comma), go.
	optional   bool
	keep, skip int
}

// filler is a compiled placeholder.
type filler interface {
	// fill appends a JSON value, or returns errAbsent.
	fill(dst []byte, v *Values) ([]byte, error)
}

// errAbsent is a value that may be left out.
var errAbsent = errors.New("absent")

// Fill appends the filled text to dst; on an error dst is as it was. The text
// is JSON: a request's bare NaN is an error and not spliced.
func (t *Template) Fill(dst []byte, v *Values) ([]byte, error) {
	return t.render(dst, func(dst []byte, f filler) ([]byte, error) { return f.fill(dst, v) })
}

// render appends the parts, with what fill gives for each placeholder.
func (t *Template) render(dst []byte, fill func([]byte, filler) ([]byte, error)) ([]byte, error) {
	start, skip := len(dst), 0
	for i := range t.parts {
		p := &t.parts[i]
		text, keep := p.text[skip:], max(p.keep-skip, 0)
		skip = 0
		out := append(dst, text...)
		if p.fill != nil {
			filled, err := fill(out, p.fill)
			switch {
			case err == nil:
				out = filled
			case errors.Is(err, errAbsent) && p.optional:
				out, skip = out[:len(dst)+keep], p.skip
			case errors.Is(err, errAbsent):
				out = append(out, "null"...)
			default:
				return dst[:start], fault.Errorf("%w: %w", ErrUnfilled, err)
			}
		}
		if dst = out; len(dst)-start > MaxFilled {
			return dst[:start], fault.Errorf("%w: over %d bytes", ErrUnfilled, MaxFilled)
		}
	}
	return dst, nil
}

// score, confidence and reasons are the fillers of a decision.
type scoreFiller struct{}

func (scoreFiller) fill(dst []byte, v *Values) ([]byte, error) {
	return appendNumber(dst, v.Score)
}

type confidenceFiller struct{}

func (confidenceFiller) fill(dst []byte, v *Values) ([]byte, error) {
	return appendNumber(dst, v.Confidence)
}

type reasonsFiller struct{}

func (reasonsFiller) fill(dst []byte, v *Values) ([]byte, error) {
	dst = append(dst, '[')
	for i, r := range v.Reasons {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, r)
	}
	return append(dst, ']'), nil
}

type reasonCountFiller struct{}

func (reasonCountFiller) fill(dst []byte, v *Values) ([]byte, error) {
	return strconv.AppendInt(dst, int64(len(v.Reasons)), 10), nil
}

// idFiller is the request's id, where that is a text.
type idFiller struct{}

func (idFiller) fill(dst []byte, v *Values) ([]byte, error) {
	if v.Request.Kind() != scan.Object {
		return nil, errAbsent
	}
	id, dup := v.Request.Get("id")
	if dup {
		return nil, errors.New("the request has more than one id")
	}
	if id.Kind() != scan.String {
		return nil, errAbsent
	}
	return append(dst, id.Raw()...), nil
}

// appendNumber writes a double that every client reads as one: 1.0, not 1.
func appendNumber(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errors.New("a number that is not finite")
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	for _, c := range dst[at:] {
		if c == '.' || c == 'e' {
			return dst, nil
		}
	}
	return append(dst, ".0"...), nil
}

// appendText writes a JSON string.
func appendText(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s { // an invalid byte comes as U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[r>>4], hex[r&15])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}
