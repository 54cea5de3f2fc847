package product

const services = `
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: models}
spec: {selector: {app: gw}, ports: [{name: http, port: 80, targetPort: GATEWAY_PORT}]}
---
apiVersion: v1
kind: Service
metadata: {name: fraud, namespace: models}
spec: {selector: {model: fraud}, ports: [{name: http, port: OUT_PORT, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: fraud-v1, namespace: models}
spec: {selector: {model: fraud, version: v1}, ports: [{name: http, port: OUT_PORT, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: fraud-v2, namespace: models}
spec: {selector: {model: fraud, version: v2}, ports: [{name: http, port: OUT_PORT, targetPort: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1, namespace: models}
spec: {address: 127.0.0.1, labels: {model: fraud, version: v1}, ports: {http: V1_PORT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v2, namespace: models}
spec: {address: 127.0.0.1, labels: {model: fraud, version: v2}, ports: {http: V2_PORT}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: models}
spec:
  gatewayClassName: istio
  addresses: [{type: Hostname, value: gw.models.svc.cluster.local}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [fraud.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs:
    - {name: fraud-v1, port: OUT_PORT, weight: 100}
    - {name: fraud-v2, port: OUT_PORT, weight: 0}
`

const policy = `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
spec:
  protocol: OpenInferenceV2
  rollout: {rollbacksPerHour: 60, coolDown: 0s}
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: OUT_PORT}, endpoints: [{address: 127.0.0.1, port: V1_PORT}]}
  - {name: v2, backendRef: {name: fraud-v2, port: OUT_PORT}, endpoints: [{address: 127.0.0.1, port: V2_PORT}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}, broken: {}, late: {}}
  breaker: {disabled: true}   # it would keep requests from a version before its weight does
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}'}
`

// sidecar is a caller with a sidecar, and a route for it whose parent is the Service.
const sidecar = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: models}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - {bind: 127.0.0.1, captureMode: NONE, port: {number: OUT_PORT, protocol: HTTP, name: http}, hosts: ["*/*"]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud-mesh, namespace: models}
spec:
  parentRefs: [{group: "", kind: Service, name: fraud}]
  rules:
  - name: score
    matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs:
    - {name: fraud-v1, port: OUT_PORT, weight: 100}
    - {name: fraud-v2, port: OUT_PORT, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud-mesh, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud-mesh, sectionName: score}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}, broken: {}, late: {}}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'}
`

// virtualService is the same for those who have routes of Istio's, and tell versions
// by subsets: at the gateway and at the sidecar.
const virtualService = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: models}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - {bind: 127.0.0.1, captureMode: NONE, port: {number: OUT_PORT, protocol: HTTP, name: http}, hosts: ["*/*"]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: fraud, namespace: models}
spec:
  host: fraud.models.svc.cluster.local
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: classic, namespace: models}
spec:
  selector: {app: gw}
  servers:
  - {port: {number: CLASSIC_PORT, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: [classic.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fraud, namespace: models}
spec:
  hosts: [fraud.models.svc.cluster.local, classic.example.com]
  gateways: [classic, mesh]
  http:
  - name: score
    match: [{uri: {prefix: /v2/models/fraud}}]
    route:
    - {destination: {host: fraud, subset: v1}, weight: 100}
    - {destination: {host: fraud, subset: v2}, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: fraud, port: OUT_PORT, subset: v1}, endpoints: [{address: 127.0.0.1, port: V1_PORT}]}
  - {name: v2, backendRef: {name: fraud, port: OUT_PORT, subset: v2}, endpoints: [{address: 127.0.0.1, port: V2_PORT}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: models}
spec:
  targetRefs: [{group: networking.istio.io, kind: VirtualService, name: fraud, sectionName: score}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}, broken: {}, late: {}}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}'}
`

const chat = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [chat.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v1}}]
    backendRefs: [{name: fraud-v1, port: OUT_PORT, weight: 1}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: chat, namespace: models}
spec:
  protocol: OpenAI
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: OUT_PORT}, endpoints: [{address: 127.0.0.1, port: V1_PORT}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: chat, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: chat}]
  mode: Enforce
  deadline: 2s
  detect: {broken: {}, late: {}}
  ladder:
  - safeDefault: {body: '{"id":"x","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant","content":"Not now."},"finish_reason":"stop"}]}'}
`
