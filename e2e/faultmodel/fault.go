package faultmodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault is one way in which the model fails. The zero value is no fault.
type Fault uint8

// The faults. The first word of each constant is the entry of the catalogue
// that it belongs to; an entry with several forms has several constants.
const (
	None Fault = iota

	S01RateLimitedRetryAfter
	S01AfterHeaders
	S02RateLimitedForEver
	S02AfterHeaders
	S03ErrorOnce
	S03AfterHeaders
	S04UnavailableForEver
	S04AfterHeaders
	S04HTTPStatus
	S05ResetBeforeHeaders
	S05StreamReset
	S06NeverAnswers
	S07SlowBody
	S07FirstTokenLate
	S08BodyCut
	S08BodyCutChunked
	S08StreamReset
	S08StreamFIN
	S08StreamEnd
	S08FrameShort
	S08NoTrailers
	S09BodyStalls
	S09StreamStalls
	S10NotJSON
	S11NoDoneClosed
	S11NoDoneHeld
	S12ContextLength
	S13ContentPolicy
	S14CutAndRefused
	S15Down
	S16UnavailableFallbackNamed
	S16AfterHeaders

	C01NaNBare
	C02NaNNull
	C03NaNString
	C04NaNBitsFP16
	C04NaNBitsBF16
	C04NaNBitsFP32
	C04NaNBitsFP64
	C04NaNTypedFP32
	C04NaNTypedFP64
	C05NaNOneRow
	C06NaNNested

	C07InfBare
	C07NegInfBare
	C07InfString
	C07NegInfString
	C07InfBitsFP16
	C07InfBitsBF16
	C07InfBitsFP32
	C07InfBitsFP64
	C07NegInfBitsFP16
	C07NegInfBitsBF16
	C07NegInfBitsFP32
	C07NegInfBitsFP64
	C07InfTypedFP32
	C07InfTypedFP64
	C07NegInfTypedFP32
	C07NegInfTypedFP64
	C07InfOneRow
	C07InfNested
	C07Overflow

	C08LowValue
	C08LowMaximum
	C08LowMargin
	C08LowMeanLogprob
	C08LowMinLogprob
	C09ConfidenceMissing
	C09ConfidenceNull
	C09ConfidenceSentinel
	C09ConfidenceOverOne

	C10OverRange
	C10UnderRange
	C10UnknownLabel

	C11WrongShape
	C11WrongDatatype
	C11OutputMissing
	C11OutputDuplicated
	C11OutputUnknown

	C12EmptyBody
	C12EmptyObject
	C12EmptyArray
	C12HeaderOnly
	C12NoChoices
	C12EmptyContent
	C12NullContent
	C12ChoiceMissing
	C12OneChoiceEmpty
	C12OnlyDone

	C13HTML
	C13TruncatedJSON
	C13TrailingBytes
	C13WrongCharset
	C13InvalidUTF8
	C13SecondMessage
	C13PlainForStream
	C13StreamForPlain
	C13FormatProse
	C13FormatSchema

	C14DuplicateKey
	C14KeyInAnotherCase
	C14DuplicateChoices

	C15Deep
	C15LongNumber
	C15Huge
	C15Bomb
	C15UnknownEncoding
	C15EndlessPreamble

	C16Constant

	C18ErrorObject
	C18ErrorForStream

	C19LogprobNaN
	C19LogprobNegInf
	C19LogprobNull
	C19Refusal
	C19ContentFilter

	C20OtherID
	C20OtherModel
	C20OtherVersion
	C20ModelChanges

	numFaults
)

// Faults lists those that exist on any of the protocols, None left out; without
// an argument, on any of Protocols.
func Faults(on ...Protocol) []Fault {
	if len(on) == 0 {
		on = Protocols
	}
	out := make([]Fault, 0, numFaults-1)
	for f := None + 1; f < numFaults; f++ {
		if slices.ContainsFunc(on, f.On) {
			out = append(out, f)
		}
	}
	return out
}

// allFaults lists every fault of every protocol.
func allFaults() []Fault { return Faults(append(slices.Clone(Protocols), Duplex...)...) }

// row is what the catalogue holds of one fault on the protocols of on: G and
// those of Protocols. Exactly one of answer, reply and serve is set there: it
// changes what the model found, what is sent, or how. What a fault is on OA and
// SSE is in chatCatalogue, and on G, where it is more than a changed answer, in
// grpcCatalogue.
type row struct {
	name string // the catalogue's entry, then what distinguishes this form
	on   set
	rows int // rows that a request needs for the fault to show; 0: 1

	answer func(Protocol, *answer)
	reply  func(Protocol, *reply)
	serve  func(*exchange) bool // reports whether the fault went out whole
}

// String returns the fault's name, such as "C01-nan-bare".
func (f Fault) String() string {
	if f >= numFaults {
		return fmt.Sprintf("Fault(%d)", uint8(f))
	}
	if f == None {
		return "none"
	}
	return catalogue[f].name
}

// Entry returns the catalogue's entry that the fault belongs to, such as
// "C01"; empty for None.
func (f Fault) Entry() string {
	if f == None || f >= numFaults {
		return ""
	}
	return catalogue[f].name[:3]
}

// On reports whether the fault exists on a protocol.
func (f Fault) On(p Protocol) bool {
	switch {
	case f == None || f >= numFaults || p >= numProtocols:
		return false
	case f == S15Down: // whatever the protocol, nobody listens
		return true
	case p == OA || p == SSE:
		return chatCatalogue[f].on.has(p)
	case p == G && grpcCatalogue[f].set():
		return true
	default:
		return catalogue[f].on.has(p)
	}
}

// Rows is how many rows a request must have for the fault to show.
func (f Fault) Rows() int {
	if f == None || f >= numFaults {
		return 1
	}
	return max(1, catalogue[f].rows)
}

// Parse reads a fault's name; a short form without the entry ("nan-bare")
// will do where it is unambiguous.
func Parse(name string) (Fault, error) {
	if name == "" || name == "none" {
		return None, nil
	}
	found := None
	for _, f := range allFaults() {
		full := f.String()
		if full == name {
			return f, nil
		}
		if full[4:] == name {
			if found != None {
				return None, fmt.Errorf("fault %q is both %s and %s", name, found, f)
			}
			found = f
		}
	}
	if found == None {
		return None, fmt.Errorf("no fault %q; there are %v", name, allFaults())
	}
	return found, nil
}

// ParseAt reads a fault's name as Parse does, or NAME@N: the fault and its place
// in a stream, negative where none is named.
func ParseAt(name string) (Fault, int, error) {
	name, place, found := strings.Cut(name, "@")
	at := -1
	if found {
		n, err := strconv.Atoi(place)
		if err != nil || n < 0 {
			return None, 0, fmt.Errorf("%q is no place in a stream, such as %s@40", place, name)
		}
		at = n
	}
	f, err := Parse(name)
	return f, at, err
}

// Entries lists the catalogue's entries that have a fault on any of the
// protocols, sorted; without an argument, on any of Protocols.
func Entries(on ...Protocol) []string {
	var out []string
	for _, f := range Faults(on...) {
		out = append(out, f.Entry())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
