package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tensor is an answer of Open Inference V2.
func tensor(score string) string {
	return `{"model_name": "default", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [` + score + `]}]}`
}

// spec is the spec of a policy, less its targets, in YAML by field.
type spec map[string]string

// defaults are the fields that a policy has unless it says another thing.
var defaults = spec{
	"mode": "Enforce", "deadline": "1s", "breaker": "{failures: 1000}",
	"ladder": "[{safeDefault: {body: '" + tensor("0.5") + "'}}]",
}

// text is a policy for the rules of a route, sorted by field.
func (p spec) text(name, route, rule string) string {
	all := maps.Clone(defaults)
	maps.Copy(all, p)
	if rule != "" {
		rule = ", sectionName: " + rule
	}
	var b strings.Builder
	fmt.Fprintf(&b, `
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %s%s}]
`, name, route, rule)
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if all[field] != "" {
			fmt.Fprintf(&b, "  %s: %s\n", field, all[field])
		}
	}
	return b.String()
}

// objects are those of a feature at a place: a route, for a Service to be its parent a
// Service, and what is the same everywhere: policies, and further Models.
func (f *feature) objects(p *place) string {
	rules := f.rules
	if rules == "" {
		to := f.model
		if to == "" {
			to = "score"
		}
		rules = "  - backendRefs: [{name: " + to + "-v1, port: SERVICE_PORT}]\n"
		if f.versions {
			rules = "  - backendRefs: [{name: " + to + "-v1, port: SERVICE_PORT, weight: 100}, {name: " + to + "-v2, port: SERVICE_PORT, weight: 0}]\n"
		}
	}
	kind := "HTTPRoute"
	if f.grpc {
		kind = "GRPCRoute"
	}
	parents := strings.ReplaceAll(p.parents, "ROUTE", f.route)
	if f.parents != "" {
		parents = f.parents
	}
	text := "apiVersion: gateway.networking.k8s.io/v1\nkind: " + kind + "\nmetadata: {name: " + f.route + "}\nspec:\n  parentRefs: " +
		parents + "\n"
	switch {
	case p.hosts:
		text += "  hostnames: [" + f.route + p.host + "]\n"
	case f.parents != "": // for the gateway
		text += "  hostnames: [" + f.route + ".elsewhere.example.com]\n"
	}
	text += "  rules:\n" + rules
	if !p.hosts || f.parents != "" && p.mesh {
		text += service(f.route, "{serves: nothing}")
	}
	if f.versions {
		text += f.twoVersions()
		if p.mesh {
			text += service(f.model+"-v1", "{version: v1}") + service(f.model+"-v2", "{version: v2}")
		}
	}
	if f.extra != "" {
		text += "\n---\n" + f.extra
	}
	if f.policy != nil {
		t := f.policy.text(f.route, f.route, "")
		if f.grpc {
			t = strings.ReplaceAll(t, "kind: HTTPRoute", "kind: GRPCRoute")
		}
		text += t
	}
	return text
}

// twoVersions is the feature's Model of two versions.
func (f *feature) twoVersions() string {
	name, more := f.model, ""
	if f.rollout != "" {
		more += "\n  rollout: " + f.rollout
	}
	if f.kill != "" {
		more += "\n  kill: " + f.kill
	}
	return `
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: ` + name + `}
spec:
  protocol: OpenInferenceV2` + more + `
  versions:
  - {name: v1, backendRef: {name: ` + name + `-v1, port: SERVICE_PORT}, endpoints: [{address: 127.0.0.1, port: V1_PORT}]}
  - {name: v2, backendRef: {name: ` + name + `-v2, port: SERVICE_PORT}, endpoints: [{address: 127.0.0.1, port: V2_PORT}]}
`
}

func service(name, selector string) string {
	protocol := ""
	if strings.HasPrefix(name, "tensors") {
		protocol = ", appProtocol: grpc"
	}
	return `
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `}
spec: {selector: ` + selector + `, ports: [{name: http, port: SERVICE_PORT, targetPort: 8000` + protocol + `}]}
`
}

// models are served by all routes that have no model of their own: one for each
// protocol, with one version, and those that ladders ask.
var models = func() string {
	var b strings.Builder
	one := func(name, protocol, version, more string) {
		backend := ", backendRef: {name: " + name + "-v1, port: SERVICE_PORT}"
		if version == "small" {
			backend = ""
		}
		fmt.Fprintf(&b, `
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: %s}
spec:
  protocol: %s
  servedName: %[1]s
  rollout: {automatic: Disabled}
%[4]s  versions:
  - {name: %[3]s, reportedVersion: %[3]s, endpoints: [{address: 127.0.0.1, port: %[5]s_PORT}]%[6]s}
`, name, protocol, version, more, strings.ToUpper(version), backend)
	}
	one("score", "OpenInferenceV2", "v1", "  failureDomain: pool-a\n")
	one("small", "OpenInferenceV2", "small", "  failureDomain: pool-b\n")
	one("absent", "OpenInferenceV2", "nobody", "")
	for _, m := range ownModels {
		one(m[0], m[1], "v1", "  failureDomain: pool-a\n")
	}
	return strings.TrimPrefix(b.String(), "\n---\n")
}()

// ownModels are the names and protocols of Models beside score: of another protocol,
// or whose breaker a feature has open.
var ownModels = [][2]string{
	{"one", "OpenInferenceV1"}, {"tf", "TensorFlowServing"}, {"ml", "MLflow"}, {"json", "JSON"}, {"chat", "OpenAI"},
	{"fragile", "OpenInferenceV2"}, {"dull", "OpenInferenceV2"}, {"killed", "OpenInferenceV2"},
	{"crowded", "OpenInferenceV2"}, {"tensors", "OpenInferenceV2"},
}

// backends are the Services of the Models in a mesh, and who serves them.
var backends = func() string {
	text := `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1}
spec: {address: 127.0.0.1, labels: {version: v1}, ports: {http: V1_PORT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v2}
spec: {address: 127.0.0.1, labels: {version: v2}, ports: {http: V2_PORT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: nobody}
spec: {address: 127.0.0.1, labels: {version: nobody}, ports: {http: NOBODY_PORT}}
` + service("score-v1", "{version: v1}") + service("absent-v1", "{version: nobody}") + service("secret-v1", "{version: v2}") + service("limited-v1", "{version: v1}")
	for _, m := range ownModels {
		text += service(m[0]+"-v1", "{version: v1}")
	}
	return text
}()

const meshObjects = `
apiVersion: v1
kind: Service
metadata: {name: gw}
spec: {selector: {app: gw}, ports: [{name: http, port: 80, targetPort: GATEWAY_PORT}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec:
  gatewayClassName: istio
  addresses: [{type: Hostname, value: gw.gateway.svc.cluster.local}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
`

// classicGateway is one of Istio's own kind.
const classicGateway = `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: classic}
spec:
  selector: {app: gw}
  servers: [{port: {number: CLASSIC_PORT, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}]
`

const sidecarObjects = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - {bind: 127.0.0.1, captureMode: NONE, port: {number: SERVICE_PORT, protocol: HTTP, name: http}, hosts: ["./*"]}
`
