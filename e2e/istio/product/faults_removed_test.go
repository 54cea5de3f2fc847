package product

import (
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestPolicyRemoved: a policy is deleted under load, and applied again, over and over.
// What is on its way to the processor meanwhile gets there.
func TestPolicyRemoved(t *testing.T) {
	s := newStand(t)
	s.guarded()
	load := s.load(200)
	for range 5 {
		s.api.Admin.Delete(t, `
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: models}
`)
		s.until("it is inspected no more", func(a answer) bool { return a.source == "" })
		s.apply(policy)
		dataplane.Eventually(t, patience, "inspected", func() bool { client.CloseIdleConnections(); return s.infer().source == "primary" })
	}
	s.unharmed(load)
}
