// Package istio turns a compiled snapshot into objects of Istio's: EnvoyFilters that
// carry the policies to the routes which istiod makes of somebody's HTTPRoutes, and
// the weights that go into these. It is pure, as package envoy is for an Envoy that
// safestate configures itself; package controller applies what it makes.
//
// What istiod makes stays istiod's: listeners, matches, clusters with their mTLS. Ours
// are the filters in front of the router, the last rung, and on each route with a
// policy its metadata. They are merged into istiod's routes by the names that these
// have, and nothing of theirs is replaced.
package istio
