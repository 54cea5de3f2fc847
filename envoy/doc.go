// Package envoy turns a compiled snapshot into Envoy's configuration and
// serves it.
//
// Render is a pure function: equal snapshots give equal resources, and nothing
// is read from disk or from the clock. Static is the same configuration in one
// file, Bootstrap the few lines that a proxy needs to fetch it from ADS, Fragment
// the pieces for an Envoy that keeps a listener of its own, ProxylessResources
// the weights for gRPC clients that are their own proxy.
//
// What the rendered configuration does for one request, in the order of the
// filters:
//
//	early header mutation  callers' copies of our headers are dropped
//	safestate.default      custom_response: a model's own 5xx, while nobody judged it
//	safestate.deadline     header_mutation: the model's share of the deadline
//	safestate              ext_proc: the processor
//	router                 weighted versions
//	local_reply_config     the last rung: the route's safe default from Envoy alone
//
// Chat comes piece by piece: there the processor withholds an answer's headers
// until it has decided, and may have a request's route chosen anew, which then
// leads to the ladder as an upstream (answers.go) instead of to a model. The
// last rung of chat is an error object (errorobject.go).
//
// All three filters of ours are off unless a route turns them on, so a route
// without a policy, and a call that asks for no prediction, costs nothing and
// depends on nobody.
package envoy
