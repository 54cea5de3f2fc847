// Package deploytest holds what is shipped beside the code against the code
// and against the schemas of others: docker-compose.yaml, Dockerfile, the
// alert rules, and the tables in docs that are made from Go.
//
//	go test ./internal/deploytest -update
//
// writes those that are made: docs/reasons.md, docs/metrics.md and
// docs/compose/envoy.yaml.
package deploytest
