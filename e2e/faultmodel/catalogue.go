package faultmodel

// catalogue holds one row a fault. A fault without a row is found by the
// package's own test.
var catalogue = [numFaults]row{
	S01RateLimitedRetryAfter:    {name: "S01-429-retry-after", on: every, serve: statusTimes(429, 1, "Retry-After", "1")},
	S02RateLimitedForEver:       {name: "S02-429", on: every, serve: statusTimes(429, 0)},
	S03ErrorOnce:                {name: "S03-500-once", on: every, serve: statusTimes(500, 1)},
	S04UnavailableForEver:       {name: "S04-503", on: every, serve: statusTimes(503, 0)},
	S05ResetBeforeHeaders:       {name: "S05-reset", on: every, serve: reset},
	S06NeverAnswers:             {name: "S06-never-answers", on: every, serve: neverAnswer},
	S07SlowBody:                 {name: "S07-slow-body", on: every, serve: slowBody},
	S08BodyCut:                  {name: "S08-body-cut", on: every, serve: bodyCut},
	S08BodyCutChunked:           {name: "S08-body-cut-chunked", on: every, serve: bodyCutChunked},
	S09BodyStalls:               {name: "S09-body-stalls", on: every, serve: bodyStalls},
	S15Down:                     {name: "S15-down", on: every, serve: nil}, // no request reaches the server: see Server.Down
	S16UnavailableFallbackNamed: {name: "S16-503-fallback-named", on: every, serve: statusTimes(503, 0)},

	C01NaNBare:     {name: "C01-nan-bare", on: textual, answer: scoreToken("NaN")},
	C02NaNNull:     {name: "C02-nan-null", on: textual, answer: scoreToken("null")},
	C03NaNString:   {name: "C03-nan-string", on: stringNaN, answer: scoreToken(`"NaN"`)},
	C04NaNBitsFP16: {name: "C04-nan-bits-fp16", on: rawBytes, answer: bits("half", 0x7e00)},
	C04NaNBitsBF16: {name: "C04-nan-bits-bf16", on: rawBytes, answer: bits("brain", 0x7fc0)},
	C04NaNBitsFP32: {name: "C04-nan-bits-fp32", on: rawBytes, answer: bits("score", 0x7fc00000)},
	C04NaNBitsFP64: {name: "C04-nan-bits-fp64", on: rawBytes, answer: bits("double", 0x7ff8000000000000)},
	C05NaNOneRow:   {name: "C05-nan-one-row", on: tensors, rows: 4, answer: oneRow("NaN", nan)},
	C06NaNNested:   {name: "C06-nan-nested", on: nested, answer: inside("NaN", nan)},

	C07InfBare:        {name: "C07-inf-bare", on: textual, answer: scoreToken("Infinity")},
	C07NegInfBare:     {name: "C07-neg-inf-bare", on: textual, answer: scoreToken("-Infinity")},
	C07InfString:      {name: "C07-inf-string", on: stringNaN, answer: scoreToken(`"Infinity"`)},
	C07NegInfString:   {name: "C07-neg-inf-string", on: stringNaN, answer: scoreToken(`"-Infinity"`)},
	C07InfBitsFP16:    {name: "C07-inf-bits-fp16", on: rawBytes, answer: bits("half", 0x7c00)},
	C07InfBitsBF16:    {name: "C07-inf-bits-bf16", on: rawBytes, answer: bits("brain", 0x7f80)},
	C07InfBitsFP32:    {name: "C07-inf-bits-fp32", on: rawBytes, answer: bits("score", 0x7f800000)},
	C07InfBitsFP64:    {name: "C07-inf-bits-fp64", on: rawBytes, answer: bits("double", 0x7ff0000000000000)},
	C07NegInfBitsFP16: {name: "C07-neg-inf-bits-fp16", on: rawBytes, answer: bits("half", 0xfc00)},
	C07NegInfBitsBF16: {name: "C07-neg-inf-bits-bf16", on: rawBytes, answer: bits("brain", 0xff80)},
	C07NegInfBitsFP32: {name: "C07-neg-inf-bits-fp32", on: rawBytes, answer: bits("score", 0xff800000)},
	C07NegInfBitsFP64: {name: "C07-neg-inf-bits-fp64", on: rawBytes, answer: bits("double", 0xfff0000000000000)},
	C07InfOneRow:      {name: "C07-inf-one-row", on: tensors, rows: 4, answer: oneRow("Infinity", inf)},
	C07InfNested:      {name: "C07-inf-nested", on: nested, answer: inside("-Infinity", -inf)},
	C07Overflow:       {name: "C07-overflow", on: textual, answer: overflow},

	C08LowValue:           {name: "C08-low-value", on: every, answer: confidence(0.2)},
	C08LowMaximum:         {name: "C08-low-maximum", on: every, answer: probabilities(0.35, 0.34, 0.31)},
	C08LowMargin:          {name: "C08-low-margin", on: every, answer: probabilities(0.48, 0.47, 0.05)},
	C09ConfidenceMissing:  {name: "C09-confidence-missing", on: every, answer: without("confidence")},
	C09ConfidenceNull:     {name: "C09-confidence-null", on: every, answer: confidenceNull},
	C09ConfidenceSentinel: {name: "C09-confidence-sentinel", on: every, answer: confidence(-9999)},
	C09ConfidenceOverOne:  {name: "C09-confidence-over-one", on: every, answer: confidence(1.5)},

	C10OverRange:    {name: "C10-over-range", on: every, answer: score(7.5)},
	C10UnderRange:   {name: "C10-under-range", on: every, answer: score(-0.25)},
	C10UnknownLabel: {name: "C10-unknown-label", on: every, answer: label("banana")},

	C11WrongShape:       {name: "C11-wrong-shape", on: contracted, answer: wrongShape},
	C11WrongDatatype:    {name: "C11-wrong-datatype", on: contracted, answer: wrongDatatype},
	C11OutputMissing:    {name: "C11-output-missing", on: contracted, answer: without("score")},
	C11OutputDuplicated: {name: "C11-output-duplicated", on: contracted, answer: duplicated},
	C11OutputUnknown:    {name: "C11-output-unknown", on: contracted, answer: unknownOutput},

	C12EmptyBody:   {name: "C12-empty-body", on: every, reply: emptyBody},
	C12EmptyObject: {name: "C12-empty-object", on: every, reply: wholeBody("{}")},
	C12EmptyArray:  {name: "C12-empty-array", on: every, reply: wholeBody("[]")},
	C12HeaderOnly:  {name: "C12-header-only", on: every, serve: headerOnly},

	C13HTML:          {name: "C13-html", on: every, reply: html},
	C13TruncatedJSON: {name: "C13-truncated", on: every, reply: truncated},
	C13TrailingBytes: {name: "C13-trailing", on: every, reply: trailing},
	C13WrongCharset:  {name: "C13-charset", on: every, reply: wrongCharset},
	C13InvalidUTF8:   {name: "C13-utf8", on: every, reply: invalidUTF8},

	C14DuplicateKey:     {name: "C14-duplicate-key", on: textual, reply: duplicateKey},
	C14KeyInAnotherCase: {name: "C14-other-case", on: textual, reply: otherCase},

	C15Deep:            {name: "C15-deep", on: every, reply: deep},
	C15LongNumber:      {name: "C15-long-number", on: every, answer: longNumber},
	C15Huge:            {name: "C15-huge", on: every, reply: huge},
	C15Bomb:            {name: "C15-bomb", on: every, reply: bomb},
	C15UnknownEncoding: {name: "C15-unknown-encoding", on: every, reply: unknownEncoding},

	C16Constant: {name: "C16-constant", on: every, answer: constant},

	C18ErrorObject: {name: "C18-error-object", on: textual, reply: errorObject},

	C20OtherID:      {name: "C20-other-id", on: named, answer: func(_ Protocol, a *answer) { a.id = "somebody-elses" }},
	C20OtherModel:   {name: "C20-other-model", on: named, answer: func(_ Protocol, a *answer) { a.model = "somebody-elses" }},
	C20OtherVersion: {name: "C20-other-version", on: named, answer: func(_ Protocol, a *answer) { a.version = "v99" }},
}
