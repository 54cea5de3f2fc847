package faultmodel

import (
	"fmt"
	"slices"
)

// Fault is one way in which the model fails. The zero value is no fault.
type Fault uint8

// The faults. The first word of each constant is the entry of the catalogue
// that it belongs to; an entry with several forms has several constants.
const (
	None Fault = iota

	S01RateLimitedRetryAfter
	S02RateLimitedForEver
	S03ErrorOnce
	S04UnavailableForEver
	S05ResetBeforeHeaders
	S06NeverAnswers
	S07SlowBody
	S08BodyCut
	S08BodyCutChunked
	S09BodyStalls
	S15Down
	S16UnavailableFallbackNamed

	C01NaNBare
	C02NaNNull
	C03NaNString
	C04NaNBitsFP16
	C04NaNBitsBF16
	C04NaNBitsFP32
	C04NaNBitsFP64
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
	C07InfOneRow
	C07InfNested
	C07Overflow

	C08LowValue
	C08LowMaximum
	C08LowMargin
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

	C13HTML
	C13TruncatedJSON
	C13TrailingBytes
	C13WrongCharset
	C13InvalidUTF8

	C14DuplicateKey
	C14KeyInAnotherCase

	C15Deep
	C15LongNumber
	C15Huge
	C15Bomb
	C15UnknownEncoding

	C16Constant

	C18ErrorObject

	C20OtherID
	C20OtherModel
	C20OtherVersion

	numFaults
)

// Faults lists them all, None left out.
func Faults() []Fault {
	out := make([]Fault, 0, numFaults-1)
	for f := None + 1; f < numFaults; f++ {
		out = append(out, f)
	}
	return out
}

// row is what the catalogue holds of one fault. Exactly one of answer, reply
// and serve is set: it changes what the model found, what is sent, or how.
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
	return f != None && f < numFaults && p < numProtocols && catalogue[f].on.has(p)
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
	for _, f := range Faults() {
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
		return None, fmt.Errorf("no fault %q; there are %v", name, Faults())
	}
	return found, nil
}

// Entries lists the catalogue's entries that have a fault here, sorted.
func Entries() []string {
	var out []string
	for _, f := range Faults() {
		out = append(out, f.Entry())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
