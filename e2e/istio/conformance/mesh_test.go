package conformance

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// hosts are what else may judge, and how else may be asked.
var hosts = slices.Concat([]feature{
	{name: "host: WASM", route: "wasm", policy: spec{"host": "WASM"}, run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "host: Both", route: "both-hosts", policy: spec{"host": "Both"}, run: finds(fm.C01NaNBare, "nonfinite")},
}, tensors)

// meshOwn are what objects say that istiod makes clusters and routes of, not safestate.
var meshOwn = []feature{
	{name: "the HTTPRoute's own header edits", route: "edits", settles: "safe_default", policy: spec{}, rules: `
  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-sample-fault, value: C01-nan-bare}]}}]
    backendRefs: [{name: score-v1, port: SERVICE_PORT}]
`, run: func(c *check) { c.want(question{}, "safe_default", "nonfinite") }},
	{name: "the HTTPRoute's own rewritten paths", route: "paths", policy: spec{}, rules: `
  - matches: [{path: {type: PathPrefix, value: /v2/models/old}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2/models/score}}}]
    backendRefs: [{name: score-v1, port: SERVICE_PORT}]
`, path: "/v2/models/old/infer", run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "a VirtualService's entry, and a rollout by its weights between subsets", route: "classic", model: "classic", custom: true, settles: "-", together: true, run: func(c *check) {
		if !c.p.mesh {
			c.refused(virtualService("classic", "[mesh]"), "VirtualService")
			c.no("a VirtualService is Istio's own kind")
			return
		}
		gateways := "[mesh]"
		host := "classic.sidecar.svc.cluster.local"
		if c.p.namespace == "gateway" {
			gateways, host = "[classic]", "classic.example.com"
			c.client = dataplane.NewClient(fmt.Sprintf("127.0.0.1:%d", c.s.classicPort))
			c.Cleanup(c.client.Close)
		}
		c.s.apply(c, c.p, virtualService(host, gateways))
		c.until("the policy is at the proxy", question{}, "primary", "")
		c.want(question{fault: fm.C01NaNBare}, "safe_default", "nonfinite")
		l := c.load(question{})
		c.safestate("rollout", "start", c.model(), "v2", "--reason", "a new version", "--step", "50,10m", "--step", "100")
		c.share("half of the answers are v2's", l, "v2", 0.3, 0.7)
		l.fail.Store(true)
		c.share("no answer is v2's, which says NaN", l, "v2", 0, 0)
		l.unharmed(c)
	}},
	{name: "an HTTPRoute's sessionPersistence", route: "session", model: "session", versions: true, plainOnly: true, policy: nil, rules: sessionRule, run: func(c *check) {
		if c.p.mesh {
			err := c.s.tryApply(c.p, c.f.objects(c.p))
			if err == nil || !strings.Contains(err.Error(), "sessionPersistence: field not declared in schema") {
				c.Errorf("want it refused; got %v", err)
			}
			c.no("the Gateway API's standard channel has no `sessionPersistence`, and the API server refuses it; sessions are Istio's own, by `consistentHash` of a DestinationRule")
			return
		}
		first := c.ask(question{})
		cookie, _, _ := strings.Cut(first.Header.Get("Set-Cookie"), ";")
		for range 20 {
			a := c.ask(question{header: map[string]string{"Cookie": cookie}})
			if version(a) != version(first) {
				c.Errorf("the session began at %s; got %s", version(first), say(a))
			}
		}
	}},
	{name: "a Model's credentials", route: "credentials", model: "secret", settles: "primary", policy: spec{}, extra: `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: secret}
spec:
  protocol: OpenInferenceV2
  credentials: {authorizationFile: SECRET_FILE}
  versions: [{name: v1, backendRef: {name: secret-v1, port: SERVICE_PORT}, endpoints: [{address: 127.0.0.1, port: V2_PORT}]}]
`, run: func(c *check) {
		if got := strings.Contains(string(c.ask(question{}).Body), secret); got == c.p.mesh {
			c.Errorf("the model got the credentials: %t", got)
		}
		if c.p.mesh {
			c.no(clusterOfIstio)
		}
	}},
	{name: "a Model's limits", route: "limits", model: "limited", settles: "primary", policy: spec{}, extra: `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: limited}
spec:
  protocol: OpenInferenceV2
  limits: {maxRequests: 1}
  versions: [{name: v1, backendRef: {name: limited-v1, port: SERVICE_PORT}, endpoints: [{address: 127.0.0.1, port: V1_PORT}]}]
`, run: func(c *check) {
		over := false
		dataplane.Eventually(c, patience, "one of several requests at a time is over it, or none", func() bool {
			for _, a := range c.together(question{fault: fm.S06NeverAnswers}, 4) {
				over = over || strings.HasPrefix(a.Reason(), "broken_unavailable")
			}
			return over || c.p.mesh
		})
		if over == c.p.mesh {
			c.Errorf("some request was over the limit: %t", over)
		}
		if c.p.mesh {
			c.no(clusterOfIstio)
		}
	}},
}

const clusterOfIstio = "the versions' clusters are Istio's: what a Model says of `credentials`, `tls`, `limits`, `outlierDetection`, `healthCheck` and `connectTimeout` holds for the ladder's calls alone, and a DestinationRule says it for Istio's"

const sessionRule = `
  - sessionPersistence: {type: Cookie}
    backendRefs: [{name: session-v1, port: SERVICE_PORT, weight: 50}, {name: session-v2, port: SERVICE_PORT, weight: 50}]
`

// virtualService is a model whose versions are subsets of one Service, and Istio's own
// route to it.
func virtualService(host, gateways string) string {
	return `
apiVersion: v1
kind: Service
metadata: {name: classic}
spec: {selector: {serves: classic}, ports: [{name: http, port: SERVICE_PORT, targetPort: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: classic-v1}
spec: {address: 127.0.0.1, labels: {serves: classic, subset: v1}, ports: {http: V1_PORT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: classic-v2}
spec: {address: 127.0.0.1, labels: {serves: classic, subset: v2}, ports: {http: V2_PORT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: classic}
spec: {host: classic, subsets: [{name: v1, labels: {subset: v1}}, {name: v2, labels: {subset: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: classic}
spec:
  hosts: [` + host + `]
  gateways: ` + gateways + `
  http:
  - name: infer
    route: [{destination: {host: classic, subset: v1}, weight: 100}, {destination: {host: classic, subset: v2}, weight: 0}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: classic}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: classic, port: SERVICE_PORT, subset: v1}, endpoints: [{address: 127.0.0.1, port: V1_PORT}]}
  - {name: v2, backendRef: {name: classic, port: SERVICE_PORT, subset: v2}, endpoints: [{address: 127.0.0.1, port: V2_PORT}]}
` + strings.ReplaceAll(spec{}.text("classic", "classic", "infer"), "{group: gateway.networking.k8s.io, kind: HTTPRoute", "{group: networking.istio.io, kind: VirtualService")
}

// refused holds where a folder with these objects is refused, by a word.
func (c *check) refused(objects, word string) {
	c.Helper()
	folder := c.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "objects.yaml"), []byte(c.s.fill(c.p, objects)), 0o600); err != nil {
		c.Fatal(err)
	}
	out, err := dataplane.Run(c.Context(), c, "safestate", "validate", folder)
	if err == nil || !strings.Contains(out, word) {
		c.Errorf("want it refused, with the word %s; got %v: %s", word, err, out)
	}
}

// secret is what the file of the credentials has.
const secret = "Bearer of-good-news"

// version is who answered.
func version(a dataplane.Answer) string {
	for _, v := range []string{"v1", "v2"} {
		if a.Status == http.StatusOK && strings.Contains(string(a.Body), `"model_version":"`+v+`"`) {
			return v
		}
	}
	return ""
}
