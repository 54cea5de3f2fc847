// Package xds hands a rendered configuration to proxies and knows what each of
// them made of it.
//
//	Set → content (marshaled once) → world ──► streams ──► proxies
//	                                   ▲          │ accepted, refused
//	                               retirement ◄── ledger ──► Proof, Await, Proxies
//
// A world is what all proxies are led to: the latest content, and what is on its
// way out. Each stream goes there at its own pace: it is told a type once what that
// type needs is accepted there (order.go), the newest only (stream.go), and a
// refused version not again at once (subscription.go). The loop of the protocol is
// go-control-plane's, one server a stream, with the stream itself as its
// configuration cache: its own caches do not know which stream they answer, and
// neither they nor the server read a refusal.
//
// One lock, the Server's, guards everything that changes. What is done under it
// does not block: streams send on goroutines of their own, observers are told
// after it is released. Nor does it depend on the number of proxies times that of
// resources: what thousands of streams ask of the same few sets is found once.
//
// A proxy that may still do what was taken back is never forgotten to make room:
// the ledger refuses a peer's next node id instead (peer.go).
package xds
