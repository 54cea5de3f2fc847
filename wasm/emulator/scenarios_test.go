package emulator_test

import "strings"

// answer is what the model of a scenario does.
type answer struct {
	status   int
	headers  [][2]string
	chunks   []string // with a content-length where there is one, else chunked
	trailers [][2]string
	fault    string // refused, reset (before headers), cut (after the first chunk), silent
}

// scenario is one request through the probe. It has to look the same to the
// probe and to the caller in Envoy, in the emulator, and on wazero in it.
type scenario struct {
	name  string
	plan  string
	sent  string // the request's body; none: GET
	ends  bool   // with a trailer x-end
	model answer
}

var hello = answer{status: 200, headers: [][2]string{{"x-model", "m"}}, chunks: []string{"hello"}}

var scenarios = []scenario{
	{name: "pass", plan: "response-headers=read:response-header+read:request-headers", model: hello},
	{name: "request-body", sent: "question", plan: "request-body=read:request-body", model: hello},
	{name: "empty-answer", model: answer{status: 200}},
	{name: "header-only-error", model: answer{status: 500}},
	{name: "judged-and-passed", plan: "response-headers=unlength+pause;response-body=pause;response-end=read:body", model: hello},
	{name: "replaced", plan: "response-headers=unlength+pause;response-body=pause;response-end=replace:other answer", model: hello},
	{name: "status-rewritten-in-body", plan: "response-headers=unlength+pause;response-body=pause;response-end=status:203+replace:better",
		model: answer{status: 500, chunks: []string{"oops"}}},
	{name: "local-from-body", plan: "response-headers=unlength+pause;response-body=pause;response-end=local:200:default", model: hello},
	{name: "local-from-headers", plan: "response-headers=local:200:default", model: answer{status: 503}},
	{name: "local-from-headers-with-body", plan: "response-headers=local:200:default", model: hello},
	{name: "local-from-request-headers", plan: "request-headers=local:200:default", model: hello},
	{name: "local-from-request-body", sent: "question", plan: "request-body=local:200:default", model: hello},
	{name: "json", plan: "response-headers=json:202:{}", model: answer{status: 503}},
	{name: "json-from-request", plan: "request-headers=json:202:{};response-headers=set:x-model:n", model: answer{status: 503}},
	{name: "local-twice", plan: "response-headers=local:200:first+local:200:second", model: answer{status: 503}},
	{name: "resume-and-local", plan: "response-headers=unlength+pause;response-body=pause;response-end=resume+local:200:default+pause", model: hello},
	{name: "local-and-resume", plan: "response-headers=unlength+pause;response-body=pause;response-end=local:200:default+resume+pause", model: hello},
	{name: "call-and-local", plan: "response-headers=unlength+pause;response-body=pause;response-end=call:model:1000+local:200:default+pause", model: hello},
	{name: "local-again", plan: "request-headers=local:200:first;response-headers=local:200:second", model: hello},
	{name: "local-replaced", plan: "request-headers=local:200:first;response-headers=unlength+pause;response-end=replace:second", model: hello},
	{name: "resume-at-once", plan: "response-headers=unlength+pause+resume", model: hello},
	{name: "resume-in-body", plan: "response-headers=unlength+pause;response-body=pause;response-end=replace:other+resume+pause", model: hello},
	{name: "continue-and-hold-body", plan: "response-body=pause;response-end=replace:HELLO", model: hello},
	{name: "hold-and-let-go-by-tick", plan: "response-headers=unlength+pause;response-body=pause;response-end=wait+pause;tick=replace:other+resume", model: hello},
	{name: "headers-in-body", plan: "response-headers=unlength+pause;response-body=pause;response-end=set:x-model:n+read:response-header", model: hello},
	{name: "headers-in-body-too-late", plan: "response-end=set:x-model:n+read:response-header", model: hello},
	{name: "request-paused", sent: "question", plan: "request-headers=pause;request-body=read:request-body", model: hello},
	{name: "replaced-by-nothing", plan: "response-headers=unlength+pause;response-body=pause;response-end=replace:", model: hello},
	{name: "local-without-body", plan: "response-headers=local:204:", model: answer{status: 503}},
	{name: "pause-headers-only-and-resume-by-call", plan: "response-headers=pause+call:model:1000;call=resume", model: answer{status: 500}},
	{name: "refused", plan: "response-headers=read:response/flags", model: answer{fault: "refused"}},
	{name: "refused-answered", plan: "response-headers=pause;response-body=pause;response-end=local:200:default", model: answer{fault: "refused"}},
	{name: "reset", plan: "response-headers=read:response/flags", model: answer{fault: "reset"}},
	{name: "reset-answered", plan: "response-headers=pause;response-body=pause;response-end=local:200:default", model: answer{fault: "reset"}},
	{name: "silent", plan: "response-headers=read:response/flags", model: answer{fault: "silent"}},
	{name: "silent-answered-by-tick", plan: "request-headers=wait;tick=local:200:default", model: answer{fault: "silent"}},
	{name: "cut", model: answer{status: 200, chunks: []string{"hel", "lo"}, fault: "cut"}},
	{name: "cut-while-held", plan: "response-headers=unlength+pause;response-body=pause;response-end=local:200:default",
		model: answer{status: 200, chunks: []string{"hel", "lo"}, fault: "cut"}},
	{name: "too-large", plan: "response-headers=unlength+pause;response-body=pause",
		model: answer{status: 200, chunks: []string{strings.Repeat("x", 100_000)}}},
	{name: "large-not-held", model: answer{status: 200, chunks: []string{strings.Repeat("x", 100_000)}}},
	{name: "called-and-answered", plan: "response-headers=unlength+pause;response-body=pause;response-end=call:model:1000+pause;call=local:200:from call", model: hello},
	{name: "called-in-headers", plan: "response-headers=call:model:1000+pause;call=local:200:from call", model: answer{status: 500}},
	{name: "call-unknown", plan: "response-headers=call:nowhere:1000+local:200:default", model: answer{status: 500}},
	{name: "call-refused", plan: "response-headers=call:dead:1000+pause;call=local:200:default", model: answer{status: 500}},
	{name: "call-reset", plan: "response-headers=call:resetting:1000+pause;call=local:200:default", model: answer{status: 500}},
	{name: "call-late", plan: "response-headers=call:mute:50+pause;call=local:200:default", model: answer{status: 500}},
	{name: "held-for-a-tick", plan: "response-headers=unlength+pause;response-body=pause;response-end=wait+pause;tick=local:200:default", model: hello},
	{name: "trailers-passed", model: answer{status: 200, chunks: []string{"hello"}, trailers: [][2]string{{"x-end", "yes"}}}},
	{name: "trailers", plan: "response-headers=pause;response-body=pause;response-trailers=read:body", model: answer{status: 200, chunks: []string{"hello"}, trailers: [][2]string{{"x-end", "yes"}}}},
	{name: "trailers-replaced", plan: "response-headers=pause;response-body=pause;response-trailers=replace:other", model: answer{status: 200, chunks: []string{"hello"}, trailers: [][2]string{{"x-end", "yes"}}}},
	{name: "trailers-local", plan: "response-headers=pause;response-body=pause;response-trailers=local:200:default", model: answer{status: 200, chunks: []string{"hello"}, trailers: [][2]string{{"x-end", "yes"}}}},
	{name: "local-after-headers-left", plan: "response-body=local:200:default", model: hello},
	{name: "recovered", plan: "response-headers=panic", model: hello},
	{name: "recovered-in-done", plan: "done=panic", model: hello},
	{name: "request-trailers", sent: "question", ends: true, plan: "request-trailers=read:request-trailers", model: hello},
	{name: "request-held-until-trailers", sent: "question", ends: true, plan: "request-headers=pause;request-body=pause;request-trailers=read:request-body", model: hello},
	{name: "request-held", sent: "question", plan: "request-headers=pause;request-body=pause;request-end=read:request-body", model: hello},
	{name: "request-held-and-answered", sent: "question", plan: "request-headers=pause;request-body=pause;request-end=local:200:default+pause", model: hello},
	{name: "request-held-too-large", sent: strings.Repeat("x", 100_000), plan: "request-headers=pause;request-body=pause", model: hello},
	{name: "request-held-for-a-call", sent: "question", plan: "request-headers=pause;request-body=pause;request-end=call:model:1000+pause;call=local:200:from call", model: hello},
	{name: "request-headers-only-held-for-a-call", plan: "request-headers=call:model:1000+pause;call=local:200:from call", model: hello},
	{name: "request-held-and-resumed-by-call", plan: "request-headers=call:model:1000+pause;call=resume-request", model: hello},
	{name: "request-body-held-and-resumed-by-tick", sent: "question", plan: "request-headers=pause;request-body=pause;request-end=wait+pause;tick=resume-request", model: hello},
	{name: "properties", plan: "response-headers=read:xds/node/id+read:metadata/filter_metadata/probe/verdict+read:xds/route_name+read:xds/cluster_name+read:xds/route_metadata/filter_metadata/probe/policy+read:route_name+read:no/such;done=read:xds/route_name+read:response/code_details", model: hello},
	{name: "in-done", plan: "done=read:request-header+read:response-header+local:200:default", model: hello},
}
