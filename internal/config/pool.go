package config

import (
	"crypto/sha256"
	"encoding/hex"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// GroupInference is the group of InferencePools.
const GroupInference = "inference.networking.k8s.io"

// istiod serves an InferencePool as a Service of a name that it makes up, whose first
// port is poolPort (istiod 1.31, pilot/pkg/config/kube/gateway/inferencepool_collection.go).
const (
	poolPort    = 54321
	poolInfix   = "-ip-"
	poolDigits  = 8
	longestName = 63
)

// ServiceOf is the Service by which a version's backendRef is served.
func ServiceOf(ref *v1alpha1.BackendRef) (name string, port int32) {
	if ref.Kind == v1alpha1.BackendInferencePool {
		return poolService(ref.Name), poolPort
	}
	return ref.Name, ref.Port
}

// Served is the Service by which a route's backendRef is served, in the namespace that
// it names; false: it is no Service, and none of a Model's versions.
func Served(ref gatewayv1.BackendRef) (gatewayv1.BackendRef, bool) {
	group, kind := "", "Service"
	if ref.Group != nil {
		group = string(*ref.Group)
	}
	if ref.Kind != nil {
		kind = string(*ref.Kind)
	}
	switch {
	case group == "" && kind == "Service":
		return ref, ref.Port != nil
	case group == GroupInference && kind == string(v1alpha1.BackendInferencePool):
		port := gatewayv1.PortNumber(poolPort)
		ref.Name, ref.Port, ref.Group, ref.Kind = gatewayv1.ObjectName(poolService(string(ref.Name))), &port, nil, nil
		return ref, true
	}
	return ref, false
}

func poolService(pool string) string {
	sum := sha256.Sum256([]byte(pool))
	return pool[:min(len(pool), longestName-len(poolInfix)-poolDigits)] + poolInfix + hex.EncodeToString(sum[:])[:poolDigits]
}
