// Package controller is the shell of package istio: it reads a configuration out of an
// API server, and writes there what makes it so: EnvoyFilters, weights, conditions.
//
//	Model, FailSafePolicy, routes ── informers ── World ──> internal/compile, internal/control
//	internal/control ── Publish(snapshot) ── istio.Render ── server-side apply ── istiod ── Envoy
//
// Every replica reads; the one that leads writes. What it writes is made anew from
// what holds, so that a lost write, or one that somebody undid, is written again.
package controller
