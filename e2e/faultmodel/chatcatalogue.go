package faultmodel

import "net/http"

var (
	plain = on(OA)
	sse   = on(SSE)
	chat  = on(OA, SSE)
)

// chatCatalogue holds one row a fault of OA and SSE. The positions are the
// tokens, of 60, before which the fault strikes.
var chatCatalogue = [numFaults]chatRow{
	S01RateLimitedRetryAfter:    {on: chat, serve: chatStatus(http.StatusTooManyRequests, 1, rateBody, "Retry-After", "1")},
	S02RateLimitedForEver:       {on: chat, serve: chatStatus(http.StatusTooManyRequests, 0, rateBody)},
	S03ErrorOnce:                {on: chat, serve: chatStatus(http.StatusInternalServerError, 1, crashBody)},
	S04UnavailableForEver:       {on: chat, serve: chatStatus(http.StatusServiceUnavailable, 0, crashBody)},
	S05ResetBeforeHeaders:       {on: chat, serve: reset},
	S06NeverAnswers:             {on: chat, serve: neverAnswer},
	S07SlowBody:                 {on: plain, serve: slowBody},
	S07FirstTokenLate:           {on: sse, prepare: firstTokenLate},
	S08BodyCut:                  {on: plain, serve: bodyCut},
	S08BodyCutChunked:           {on: plain, serve: bodyCutChunked},
	S08StreamReset:              {on: sse, script: cutBy(endReset), at: 40, positions: anywhere},
	S08StreamFIN:                {on: sse, script: cutBy(endFIN), at: 40, positions: anywhere},
	S08StreamEnd:                {on: sse, script: cutBy(endClean), at: 40, positions: anywhere},
	S09BodyStalls:               {on: plain, serve: bodyStalls},
	S09StreamStalls:             {on: sse, script: cutBy(endHold), at: 20, positions: anywhere},
	S10NotJSON:                  {on: sse, edit: becomes("upstream hiccup, please hold"), at: 8, positions: []int{0, 1, 8, 40}}, // 8: the tenth event is token 8, after the role
	S11NoDoneClosed:             {on: sse, script: withoutDone(endClean)},
	S11NoDoneHeld:               {on: sse, script: withoutDone(endHold)},
	S12ContextLength:            {on: chat, serve: chatStatus(http.StatusBadRequest, 0, contextBody)},
	S13ContentPolicy:            {on: chat, serve: chatStatus(http.StatusBadRequest, 0, policyBody)},
	S14CutAndRefused:            {on: sse, script: cutBy(endFIN), at: 40, positions: anywhere},
	S16UnavailableFallbackNamed: {on: chat, serve: chatStatus(http.StatusServiceUnavailable, 0, crashBody)},

	C08LowMeanLogprob:    {on: chat, completion: everyLogprob("-2.5"), needs: wantsLogprobs},
	C08LowMinLogprob:     {on: chat, completion: logprob("-9.5"), at: 5, positions: anywhere, needs: wantsLogprobs},
	C09ConfidenceMissing: {on: chat, completion: insteadOfLogprobs("null"), needs: wantsLogprobs},
	C09ConfidenceNull:    {on: chat, completion: insteadOfLogprobs(`{"content":null,"refusal":null}`), needs: wantsLogprobs},
	// vLLM and SGLang write this where a token has no probability.
	C09ConfidenceSentinel: {on: chat, completion: logprob("-9999.0"), positions: anywhere, needs: wantsLogprobs},
	C09ConfidenceOverOne:  {on: chat, completion: logprob("0.5"), positions: anywhere, needs: wantsLogprobs},

	C12EmptyBody:      {on: chat, reply: emptyBody},
	C12EmptyObject:    {on: chat, reply: wholeBody("{}"), script: func(s *script) { s.raw("data: {}\n\n", "data: [DONE]\n\n") }},
	C12EmptyArray:     {on: chat, reply: wholeBody("[]"), script: func(s *script) { s.raw("data: []\n\n", "data: [DONE]\n\n") }},
	C12HeaderOnly:     {on: chat, serve: headerOnly},
	C12NoChoices:      {on: chat, completion: func(c *completion) { c.choices = nil }, script: noChoices},
	C12EmptyContent:   {on: chat, completion: empty(0, false)},
	C12NullContent:    {on: chat, completion: empty(0, true)},
	C12ChoiceMissing:  {on: chat, completion: func(c *completion) { c.choices, c.shows = c.choices[:len(c.choices)-1], showsAtEnd }, n: 2},
	C12OneChoiceEmpty: {on: chat, completion: empty(1, false), n: 2},
	C12OnlyDone:       {on: sse, script: func(s *script) { s.raw("data: [DONE]\n\n") }},

	C13HTML:           {on: chat, reply: html},
	C13TruncatedJSON:  {on: chat, edit: cutShort, positions: anywhere},
	C13TrailingBytes:  {on: chat, edit: trailed, positions: anywhere},
	C13WrongCharset:   {on: chat, reply: wrongCharset},
	C13InvalidUTF8:    {on: chat, edit: first("{", "{\"note\":\"\x80\xed\xa0\x80\","), positions: anywhere},
	C13PlainForStream: {on: sse, serve: plainForStream},
	C13StreamForPlain: {on: plain, serve: streamForPlain},
	C13FormatProse:    {on: chat, completion: answersWith("Sure! Here is what you asked for."), needs: wantsFormat},
	C13FormatSchema:   {on: chat, completion: answersWith(`{"unexpected":[true]}`), needs: wantsFormat},

	C14DuplicateKey:     {on: chat, edit: contentTwice("content", "text"), positions: anywhere},
	C14KeyInAnotherCase: {on: chat, edit: contentTwice("CONTENT", "TEXT"), positions: anywhere},
	C14DuplicateChoices: {on: chat, edit: first(`"choices":`, `"choices":[],"choices":`), positions: anywhere},

	C15Deep:            {on: chat, edit: deepObject, positions: anywhere},
	C15LongNumber:      {on: chat, edit: longCreated, positions: anywhere},
	C15Huge:            {on: chat, edit: hugeObject, positions: anywhere},
	C15Bomb:            {on: chat, reply: bomb},
	C15UnknownEncoding: {on: chat, reply: unknownEncoding},
	C15EndlessPreamble: {on: sse, script: endlessPreamble},

	C18ErrorObject:    {on: chat, reply: wholeBody(crashBody), script: errorEvent, positions: anywhere},
	C18ErrorForStream: {on: sse, serve: chatStatus(http.StatusOK, 0, crashBody)},

	C19LogprobNaN:    {on: chat, completion: logprob("NaN"), positions: anywhere, needs: wantsLogprobs},
	C19LogprobNegInf: {on: chat, completion: logprob("-Infinity"), positions: anywhere, needs: wantsLogprobs},
	C19LogprobNull:   {on: chat, completion: logprob("null"), positions: anywhere, needs: wantsLogprobs},
	C19Refusal:       {on: chat, completion: refuses},
	C19ContentFilter: {on: chat, completion: filtered, at: 20, positions: anywhere},

	C20OtherID:      {on: sse, script: func(s *script) { s.edit(first(`cmpl-`, `cmpl-somebody-elses-`), true) }, at: 1, positions: anywhere},
	C20OtherModel:   {on: chat, completion: func(c *completion) { c.model = "somebody-elses" }},
	C20ModelChanges: {on: sse, script: func(s *script) { s.edit(first(`"model":"`, `"model":"somebody-elses-`), true) }, at: 1, positions: anywhere},
}

// Positions are the tokens of a stream before which a fault is worth having;
// none where it has no place or the protocol is not SSE.
func (f Fault) Positions(p Protocol) []int {
	if p != SSE || !f.On(p) {
		return nil
	}
	return chatCatalogue[f].positions
}

// Logprobs reports whether a chat request has to ask for logprobs for the fault
// to show.
func (f Fault) Logprobs() bool {
	c := f.chat()
	return c.needs != nil && c.needs(&chatRequest{logprobs: true})
}

// Format reports whether a chat request has to ask for a response_format.
func (f Fault) Format() bool {
	c := f.chat()
	return c.needs != nil && c.needs(&chatRequest{format: responseFormat{Type: "json_object"}})
}

// Choices is how many choices a chat request has to ask for.
func (f Fault) Choices() int { return max(1, f.chat().n) }

func (f Fault) chat() chatRow {
	if f >= numFaults {
		return chatRow{}
	}
	return chatCatalogue[f]
}
