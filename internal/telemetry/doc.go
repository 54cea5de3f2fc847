// Package telemetry is what can be seen of safestate from outside: metrics for
// Prometheus, one log line per failed answer, and one trace span per inspected
// answer.
//
// Everything hangs on values that are built once and handed down: there is no
// global registry, logger or tracer. All types are safe for concurrent use
// unless they say otherwise.
//
// Label values are bounded. A route, model version or breaker past its cap is
// counted under the value "other", so that no configuration and no policy from
// the wire can grow the process or the scrape without limit.
package telemetry
