package e2e

import (
	"testing"

	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// column is the last column of the catalogue of faults: every entry that is
// not about streams, with the protocols of tensors and rows it names (chat and
// gRPC are in columnInPieces). The tests below hold the faults that the model
// can serve against it, so that none goes missing.
var column = map[string][]fm.Protocol{
	"S01": all, "S02": all, "S03": all, "S04": all, "S05": all, "S06": all, "S07": all, "S08": all, "S09": all, "S15": all, "S16": all,
	"C01": {fm.V1, fm.V2, fm.TF, fm.ML, fm.J},
	"C02": {fm.V1, fm.V2, fm.TF, fm.ML, fm.J},
	"C03": {fm.V1, fm.V2, fm.J},
	"C04": {fm.V2B},
	"C05": {fm.V1, fm.V2, fm.V2B, fm.TF, fm.ML},
	"C06": {fm.J, fm.V1, fm.ML},
	"C07": all, // its forms differ: see forms
	"C08": all,
	"C09": all,
	"C10": all,
	"C11": {fm.V1, fm.V2, fm.V2B, fm.TF},
	"C12": all,
	"C13": all,
	"C14": {fm.V1, fm.V2, fm.TF, fm.ML, fm.J},
	"C15": all,
	"C16": all,
	"C18": {fm.V1, fm.V2, fm.TF, fm.ML, fm.J},
	"C20": {fm.V2, fm.V2B},
}

var all = []fm.Protocol{fm.V1, fm.V2, fm.V2B, fm.TF, fm.ML, fm.J}

// forms are how many faults an entry has on a protocol, where more than one is
// asked for: an entry is not covered by one of its forms.
var forms = map[string]map[fm.Protocol]int{
	"S08": {fm.V1: 2, fm.V2: 2, fm.V2B: 2, fm.TF: 2, fm.ML: 2, fm.J: 2}, // with and without a promised length
	"C04": {fm.V2B: 4},                                                  // four float types
	// bare ±, strings ± (V1 V2 J), bits ± of four types, one row (all but J), nested (J V1 ML), past the range
	"C07": {fm.V1: 7, fm.V2: 6, fm.V2B: 9, fm.TF: 4, fm.ML: 5, fm.J: 6},
	"C08": {fm.V1: 3, fm.V2: 3, fm.V2B: 3, fm.TF: 3, fm.ML: 3, fm.J: 3}, // value, maximum, margin
	"C09": {fm.V1: 4, fm.V2: 4, fm.V2B: 4, fm.TF: 4, fm.ML: 4, fm.J: 4}, // missing, null, sentinel, over 1
	"C10": {fm.V1: 3, fm.V2: 3, fm.V2B: 3, fm.TF: 3, fm.ML: 3, fm.J: 3}, // over, under, label
	"C11": {fm.V1: 5, fm.V2: 5, fm.V2B: 5, fm.TF: 5},                    // shape, datatype, missing, duplicated, unknown
	"C12": {fm.V1: 4, fm.V2: 4, fm.V2B: 4, fm.TF: 4, fm.ML: 4, fm.J: 4}, // "", {}, [], header only
	"C13": {fm.V1: 5, fm.V2: 5, fm.V2B: 5, fm.TF: 5, fm.ML: 5, fm.J: 5}, // HTML, truncated, trailing, charset, UTF-8
	"C14": {fm.V1: 2, fm.V2: 2, fm.TF: 2, fm.ML: 2, fm.J: 2},            // twice, another case
	"C15": {fm.V1: 5, fm.V2: 5, fm.V2B: 5, fm.TF: 5, fm.ML: 5, fm.J: 5}, // depth, digits, 16 MiB, bomb, encoding
	"C20": {fm.V2: 3, fm.V2B: 3},                                        // id, name, version
}

// expectation is what a caller must see. reason lists the prefixes that are
// right; more than one where the wire does not tell the cases apart.
type expectation struct {
	group  string
	source []string // nil: the fallback model
	reason []string
}

// afterHeaders: the answer broke after its headers, which Envoy answers by
// itself: the processor then sees no more of this request.
var afterHeaders = []string{"fallback", "safe_default"}

// expected has one row a fault; a fault without one fails the table.
var expected = map[fm.Fault]expectation{
	fm.S01RateLimitedRetryAfter:    {group: "main", reason: []string{"broken_status 429"}},
	fm.S02RateLimitedForEver:       {group: "main", reason: []string{"broken_status 429"}},
	fm.S03ErrorOnce:                {group: "main", reason: []string{"broken_status 500"}},
	fm.S04UnavailableForEver:       {group: "main", reason: []string{"broken_status 503"}},
	fm.S05ResetBeforeHeaders:       {group: "main", reason: []string{"broken_reset"}},
	fm.S06NeverAnswers:             {group: "main", reason: []string{"late"}},
	fm.S07SlowBody:                 {group: "main", source: afterHeaders, reason: []string{"late", "response_timeout", "stream_idle_timeout"}},
	fm.S08BodyCut:                  {group: "main", source: afterHeaders, reason: []string{"broken_reset", "broken_truncated", "upstream_"}},
	fm.S08BodyCutChunked:           {group: "main", source: afterHeaders, reason: []string{"broken_reset", "broken_truncated", "upstream_"}},
	fm.S09BodyStalls:               {group: "main", source: afterHeaders, reason: []string{"late", "response_timeout", "stream_idle_timeout"}},
	fm.S15Down:                     {group: "breaker", reason: []string{"broken_refused", "broken_reset"}},
	fm.S16UnavailableFallbackNamed: {group: "main", reason: []string{"broken_status 503"}},

	fm.C01NaNBare:     {group: "main", reason: []string{"nonfinite "}},
	fm.C02NaNNull:     {group: "main", reason: []string{"nonfinite "}},
	fm.C03NaNString:   {group: "main", reason: []string{"nonfinite "}},
	fm.C04NaNBitsFP16: {group: "main", reason: []string{"nonfinite "}},
	fm.C04NaNBitsBF16: {group: "main", reason: []string{"nonfinite "}},
	fm.C04NaNBitsFP32: {group: "main", reason: []string{"nonfinite "}},
	fm.C04NaNBitsFP64: {group: "main", reason: []string{"nonfinite "}},
	fm.C05NaNOneRow:   {group: "main", reason: []string{"nonfinite "}},
	fm.C06NaNNested:   {group: "main", reason: []string{"nonfinite "}},

	fm.C07InfBare:        {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfBare:     {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfString:      {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfString:   {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfBitsFP16:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfBitsBF16:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfBitsFP32:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfBitsFP64:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfBitsFP16: {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfBitsBF16: {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfBitsFP32: {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfBitsFP64: {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfOneRow:      {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfNested:      {group: "main", reason: []string{"nonfinite "}},
	fm.C07Overflow:       {group: "main", reason: []string{"nonfinite "}},

	fm.C08LowValue:           {group: "value", reason: []string{"confidence_low "}},
	fm.C08LowMaximum:         {group: "maximum", reason: []string{"confidence_low "}},
	fm.C08LowMargin:          {group: "margin", reason: []string{"confidence_low "}},
	fm.C09ConfidenceMissing:  {group: "value", reason: []string{"confidence_missing "}},
	fm.C09ConfidenceNull:     {group: "value", reason: []string{"confidence_null "}},
	fm.C09ConfidenceSentinel: {group: "value", reason: []string{"confidence_sentinel "}},
	fm.C09ConfidenceOverOne:  {group: "value", reason: []string{"confidence_over_one "}},

	fm.C10OverRange:    {group: "contract", reason: []string{"contract_range "}},
	fm.C10UnderRange:   {group: "contract", reason: []string{"contract_range "}},
	fm.C10UnknownLabel: {group: "contract", reason: []string{"contract_label "}},

	fm.C11WrongShape:       {group: "contract", reason: []string{"contract_shape "}},
	fm.C11WrongDatatype:    {group: "contract", reason: []string{"contract_datatype ", "contract_range "}},
	fm.C11OutputMissing:    {group: "contract", reason: []string{"contract_output_missing "}},
	fm.C11OutputDuplicated: {group: "contract", reason: []string{"contract_output_duplicate ", "broken_duplicate_key "}},
	fm.C11OutputUnknown:    {group: "contract", reason: []string{"contract_output_unknown "}},

	fm.C12EmptyBody:   {group: "main", reason: []string{"broken_empty"}},
	fm.C12EmptyObject: {group: "main", reason: []string{"broken_empty"}},
	fm.C12EmptyArray:  {group: "main", reason: []string{"broken_empty"}},
	fm.C12HeaderOnly:  {group: "main", reason: []string{"broken_empty", "broken_truncated"}},

	fm.C13HTML:          {group: "main", reason: []string{"broken_content_type "}},
	fm.C13TruncatedJSON: {group: "main", reason: []string{"broken_truncated"}},
	fm.C13TrailingBytes: {group: "main", reason: []string{"broken_trailing"}},
	fm.C13WrongCharset:  {group: "main", reason: []string{"broken_content_type "}},
	fm.C13InvalidUTF8:   {group: "main", reason: []string{"broken_utf8"}},

	fm.C14DuplicateKey:     {group: "main", reason: []string{"broken_duplicate_key "}},
	fm.C14KeyInAnotherCase: {group: "main", reason: []string{"broken_duplicate_key "}},

	fm.C15Deep:            {group: "main", reason: []string{"broken_depth"}},
	fm.C15LongNumber:      {group: "main", reason: []string{"broken_number"}},
	fm.C15Huge:            {group: "main", reason: []string{"broken_too_large"}},
	fm.C15Bomb:            {group: "main", reason: []string{"broken_inflate"}},
	fm.C15UnknownEncoding: {group: "main", reason: []string{"broken_encoding"}},

	fm.C16Constant: {group: "constant", reason: []string{"constant "}},

	fm.C18ErrorObject: {group: "main", reason: []string{"broken_error_object"}},

	fm.C20OtherID:      {group: "contract", reason: []string{"contract_id"}},
	fm.C20OtherModel:   {group: "contract", reason: []string{"contract_model_name "}},
	fm.C20OtherVersion: {group: "contract", reason: []string{"contract_model_version "}},
}

// TestTableIsComplete holds the faults against the catalogue's column and the
// expectations against the faults, with no data plane at all.
func TestTableIsComplete(t *testing.T) {
	complete(t, fm.Protocols, column, forms, func(_ fm.Protocol, f fm.Fault) bool {
		e := expected[f]
		return e.group != "" && len(e.reason) > 0
	})
	complete(t, fm.Duplex, columnInPieces, formsInPieces, func(p fm.Protocol, f fm.Fault) bool {
		if p == fm.G {
			e := onGRPC(f)
			return e.group != "" && (len(e.reason) > 0 || e.silent)
		}
		e := expectedChat[f]
		return e.group != "" && (len(e.reason) > 0 || e.onPlain() == objection || e.at(0) == ownAnswer)
	})
}

// complete holds the faults that the model serves on some protocols against a
// column and its forms.
func complete(t *testing.T, protocols []fm.Protocol, column map[string][]fm.Protocol, forms map[string]map[fm.Protocol]int, isExpected func(fm.Protocol, fm.Fault) bool) {
	t.Helper()
	served := map[string]map[fm.Protocol]int{}
	for _, f := range fm.Faults(protocols...) {
		if served[f.Entry()] == nil {
			served[f.Entry()] = map[fm.Protocol]int{}
		}
		for _, p := range protocols {
			if !f.On(p) {
				continue
			}
			served[f.Entry()][p]++
			if !isExpected(p, f) {
				t.Errorf("%s has no expectation on %s", f, p)
			}
		}
	}
	for entry, protocols := range column {
		for _, p := range protocols {
			want := max(1, forms[entry][p])
			if got := served[entry][p]; got != want {
				t.Errorf("%s on %s: %d forms, want %d", entry, p, got, want)
			}
			delete(served[entry], p)
		}
	}
	for entry, protocols := range served {
		for p := range protocols {
			t.Errorf("%s on %s is served, but the catalogue's column does not name it", entry, p)
		}
	}
	if len(column) != len(fm.Entries(protocols...)) {
		t.Errorf("the catalogue has %d entries, the model serves %d", len(column), len(fm.Entries(protocols...)))
	}
}
