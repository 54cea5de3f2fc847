// Package streams is what open streams do to safestate and Envoy, and what
// becomes of them when a part dies: a caller that reads streams strictly, a data
// plane whose every part is a process that can be killed, and Chaos, which does
// that. Its own tests, thousands of open streams among them, take minutes and
// are run by `make streams`.
package streams
