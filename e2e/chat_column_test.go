package e2e

import fm "github.com/safestate/safestate/e2e/faultmodel"

// columnInPieces is the last column of the catalogue of faults for the protocols
// whose answers come in pieces. C17 is not served: an outlier among recent
// predictions is nothing that one answer shows.
var columnInPieces = map[string][]fm.Protocol{
	"S01": fm.Duplex, "S02": fm.Duplex, "S03": fm.Duplex, "S04": fm.Duplex, "S05": fm.Duplex, "S06": fm.Duplex,
	"S07": fm.Duplex, "S08": fm.Duplex, "S09": fm.Duplex, "S15": fm.Duplex, "S16": fm.Duplex,
	"S10": {fm.SSE}, "S11": {fm.SSE}, "S14": {fm.SSE},
	"S12": completions, "S13": completions,
	"C04": {fm.G}, "C05": {fm.G}, "C07": {fm.G},
	"C08": fm.Duplex, "C09": fm.Duplex,
	"C10": {fm.G}, "C11": {fm.G},
	"C12": fm.Duplex, "C13": fm.Duplex,
	"C14": completions,
	"C15": fm.Duplex,
	"C16": {fm.G},
	"C18": completions, "C19": completions,
	"C20": fm.Duplex,
}

var completions = []fm.Protocol{fm.OA, fm.SSE}

// formsInPieces is what forms is to column. A status of gRPC comes instead of
// headers or after them.
var formsInPieces = map[string]map[fm.Protocol]int{
	"S01": {fm.G: 2}, "S02": {fm.G: 2}, "S03": {fm.G: 2}, "S16": {fm.G: 2},
	"S04": {fm.G: 3},                       // and a proxy's 503 that is no gRPC
	"S05": {fm.G: 2},                       // the connection, one stream of it
	"S08": {fm.OA: 2, fm.SSE: 3, fm.G: 3},  // with and without a length; reset, FIN, a clean end; cut, short, without trailers
	"S11": {fm.SSE: 2},                     // closed, held open
	"C04": {fm.G: 6},                       // four float types as raw bytes, two as typed contents
	"C07": {fm.G: 13},                      // bits ± of four types, typed ± of two, one row
	"C08": {fm.OA: 2, fm.SSE: 2, fm.G: 3},  // mean and minimum; value, maximum, margin
	"C09": {fm.OA: 4, fm.SSE: 4, fm.G: 3},  // missing, null (not of gRPC), sentinel, over 1
	"C10": {fm.G: 3},                       // over, under, label
	"C11": {fm.G: 5},                       // shape, datatype, missing, duplicated, unknown
	"C12": {fm.OA: 9, fm.SSE: 10, fm.G: 4}, // body, object, array, headers; choices, content, one choice; nothing but [DONE]
	"C13": {fm.OA: 8, fm.SSE: 8, fm.G: 3},  // as of JSON, the other shape, response_format; truncated, trailing, a second message
	"C14": {fm.OA: 3, fm.SSE: 3},           // twice, another case, the choices
	"C15": {fm.OA: 5, fm.SSE: 6},           // as of JSON; an endless preamble
	"C18": {fm.SSE: 2},                     // an event, a body
	"C19": {fm.OA: 5, fm.SSE: 5},           // NaN, -Infinity, null; refusal, filter
	"C20": {fm.SSE: 3, fm.G: 3},            // id, name, a name that changes; id, name, version
}
