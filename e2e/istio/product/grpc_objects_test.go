package product

import "strings"

// tensorText has the ports of the models in their places.
func tensorText(g *tensorStand, text string) string {
	return strings.NewReplacer("ONE_PORT", g.one.Port(), "TWO_PORT", g.two.Port(), "SMALL_PORT", g.small.Port()).Replace(text)
}

// tensorServices are of a model that is served over gRPC, which the names of their
// ports say.
const tensorServices = `
apiVersion: v1
kind: Service
metadata: {name: tensors, namespace: models}
spec: {selector: {model: tensors}, ports: [{name: grpc, port: OUT_PORT, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: tensors-v1, namespace: models}
spec: {selector: {model: tensors, version: v1}, ports: [{name: grpc, port: OUT_PORT, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: tensors-v2, namespace: models}
spec: {selector: {model: tensors, version: v2}, ports: [{name: grpc, port: OUT_PORT, targetPort: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: tensors-v2, namespace: models}
spec: {address: 127.0.0.1, labels: {model: tensors, version: v2}, ports: {grpc: TWO_PORT}}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: tensors, namespace: models}
spec:
  protocol: OpenInferenceV2
  failureDomain: pool-a
  rollout: {rollbacksPerHour: 60, coolDown: 0s}
  versions:
  - {name: v1, reportedVersion: v1, backendRef: {name: tensors-v1, port: OUT_PORT}, endpoints: [{address: 127.0.0.1, port: ONE_PORT}]}
  - {name: v2, reportedVersion: v2, backendRef: {name: tensors-v2, port: OUT_PORT}, endpoints: [{address: 127.0.0.1, port: TWO_PORT}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: tensors-small, namespace: models}
spec:
  protocol: OpenInferenceV2
  failureDomain: pool-b
  servedName: small
  versions: [{name: small, reportedVersion: small, endpoints: [{address: 127.0.0.1, port: SMALL_PORT}]}]
`

// tensorOne is the only endpoint of version v1.
const tensorOne = `
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: tensors-v1, namespace: models}
spec: {address: 127.0.0.1, labels: {model: tensors, version: v1}, ports: {grpc: ONE_PORT}}
`

const tensorRoute = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: tensors, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [tensors.example.com]
  rules:
  - backendRefs:
    - {name: tensors-v1, port: OUT_PORT, weight: 100}
    - {name: tensors-v2, port: OUT_PORT, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: tensors, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: tensors}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}, broken: {}, late: {}}
  breaker: {disabled: true}
  ladder:
  - fallback: {model: tensors-small, deadline: 500ms}
  - safeDefault: {body: '{"model_name":"default","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'}
`

const tensorSidecar = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: models}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - {bind: 127.0.0.1, captureMode: NONE, port: {number: OUT_PORT, protocol: HTTP, name: http}, hosts: ["*/*"]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: tensors-mesh, namespace: models}
spec:
  parentRefs: [{group: "", kind: Service, name: tensors}]
  rules:
  - name: infer
    backendRefs: [{name: tensors-v1, port: OUT_PORT}]
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: tensors-mesh, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: tensors-mesh, sectionName: infer}]
  mode: Enforce
  deadline: 2s
  reserve: 500ms
  detect: {nonFinite: {}, broken: {}, late: {}}
  breaker: {disabled: true}
  ladder:
  - safeDefault: {body: '{"model_name":"default","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'}
`
