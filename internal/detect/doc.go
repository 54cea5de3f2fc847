// Package detect judges exchanges with a model: the request before the model
// is asked, what the answer's status and headers decide, and the whole answer.
// It is pure, links no HTTP library, and is the same in every host.
//
// # The flow of one answer
//
//	Envoy's own reply? another filter's: left alone; the model's: late, reset, refused
//	status, redirect, size, content-encoding, content-type
//	inflate, parse, read as the protocol has it: empty, error object, ambiguous
//	dependencies, overlong numbers, duplicate keys
//	non-finite, outputs, identity, confidence, conditions
//	constant answer (of clean ones)
//
// A completion (OpenAI) goes another way from there: its form, overlong numbers,
// duplicate keys, non-finite log probabilities, choices, the model's name,
// refusals and content filters, response_format, confidence, conditions. In it
// an overlong number or a bare token is found anywhere, for no part of it is the
// model's own; sentinels among a token's alternatives are not looked at. An empty
// content that a content filter explains is no broken answer, but the chat
// detector's. Streamed answers are judged by Stream.
//
// Every detector looks, so that each counts what it finds; the first enforced
// finding is the reason. A body that cannot be read ends the flow.
//
// # What is ambiguous fails
//
// Two readers must not see two answers. A key that is inspected and occurs
// twice, or a second time in another case, fails the answer, as does a charset
// that is not UTF-8. What nobody inspects is the model's business: duplicates,
// bare NaN tokens and 400-digit integers there change nothing.
package detect
