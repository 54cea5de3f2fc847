// Package admin is how people and programs ask safestate about releases and
// change them: an HTTP API with JSON under /v1/, and its client.
//
// The handler checks who asks, what they may do and that the request is well
// formed; what is true and what happens is Control's, which the control plane
// implements. Nothing here keeps state but what makes a repeated request harmless.
//
// Rules for every request: the Host header is a name of this server. For every
// change: POST with a JSON object of at most 64 KiB whose fields are all known,
// no cookies, no CORS; an Idempotency-Key makes it happen once. Errors are a
// Problem. Flagger's webhooks are POSTs that change nothing, see flaggerRoutes.
//
// The document /v1/openapi.json says the same to programs.
package admin
