package killstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// models is how many the configuration has; each has two versions, and a route.
const models = 8

// targets are all that can be killed, by their keys.
func targets() []string {
	out := []string{"all"}
	for i := range models {
		out = append(out, fmt.Sprintf("model/default/m%d", i), fmt.Sprintf("route/default/m%d/all", i),
			fmt.Sprintf("version/default/m%d/v1", i), fmt.Sprintf("version/default/m%d/v2", i))
	}
	return out
}

// writeWorld makes the configuration. Nobody serves the models: it is about who
// decides.
func writeWorld(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var text strings.Builder
	for i := range models {
		fmt.Fprintf(&text, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: m%[1]d}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: all
    matches: [{path: {type: PathPrefix, value: /v2/models/m%[1]d}}]
    backendRefs: [{name: m%[1]d-v1, port: 80, weight: 100}, {name: m%[1]d-v2, port: 80, weight: 0}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: m%[1]d}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: m%[1]d-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 9}]}
  - {name: v2, backendRef: {name: m%[1]d-v2, port: 80}, endpoints: [{address: 127.0.0.1, port: 9}]}
---`, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "world.yaml"), []byte(strings.TrimSuffix(text.String(), "---")), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// replica is a safestate that can be killed and started again.
type replica struct {
	t       testing.TB
	name    string
	program string
	http    string
	data    string // its folder
	flags   []string
	life    atomic.Int64 // how often it was started
	process *dataplane.Process
	ways    [three]*link // to the members of etcd; none where the store is embedded
}

// newReplica prepares one, which keeps its store itself.
func newReplica(t testing.TB, program, world, name string) *replica {
	t.Helper()
	r := &replica{t: t, name: name, program: program, http: porttest.Address(t), data: t.TempDir()}
	grpc := porttest.Address(t)
	r.flags = []string{"serve", "--role", "control", "--config", world, "--http", r.http, "--grpc", grpc, "--processor", "127.0.0.1:9",
		"--answers-upstream", "127.0.0.1:9", "--data-dir", r.data, "--replica", name, "--advertise", grpc, "--log-level", "warn"}
	return r
}

// over has it use an etcd, by a link to each member.
func (r *replica) over(c *cluster) {
	r.t.Helper()
	var endpoints []string
	for i, m := range c.members {
		r.ways[i] = newLink(r.t, fmt.Sprintf("replica %s to member %d", r.name, i), porttest.Address(r.t), m.Client) // a port that is free yet when the link is mended
		endpoints = append(endpoints, "http://"+r.ways[i].at())
	}
	r.flags = append(r.flags, "--etcd-endpoints", strings.Join(endpoints, ","))
}

// start starts the process, also again after it was killed.
func (r *replica) start() {
	r.t.Helper()
	r.life.Add(1)
	r.process = dataplane.Spawn(r.t, "safestate "+r.name, r.program, r.flags...)
}

// ready waits until it has its configuration.
func (r *replica) ready() {
	r.t.Helper()
	dataplane.Eventually(r.t, soon, r.name+" is ready", func() bool {
		if r.process.Exited() {
			r.t.Fatalf("%s ended: %v\n%s", r.name, r.process.WaitExit(0), r.process.Log())
		}
		return dataplane.Get("http://"+r.http+"/readyz") != ""
	})
}

// trail is the folder of its audit trail.
func (r *replica) trail() string { return filepath.Join(r.data, "audit") }
