// Package api asks the API of a real safestate for everything that its OpenAPI
// document allows, and for what it does not, by schemathesis: no answer may be one
// that the document does not have, and none a server's error.
//
// schemathesis is that of requirements.txt, which make sets up in .cache/api.
package api
