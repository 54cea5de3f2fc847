package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/safestate/safestate/"

// edges says, for every package, which packages of this module it may import
// and why. An import that is not here fails the test, and so does an edge that
// nobody uses. Paths are relative to the module.
var edges = map[string]map[string]string{
	// The core: pure decisions.
	"internal/fault":      {},
	"internal/time/plain": {},
	"internal/time": {
		"internal/time/plain": "what stands for the standard package in the WASM filter",
	},
	"internal/policy": {
		"internal/fault": "errors without package fmt",
		"internal/scan":  "a policy's text is read by the one parser",
		"internal/time":  "durations",
	},
	"internal/scan":    {},
	"internal/tensor":  {},
	"internal/inflate": {},
	"internal/verdict": {
		"internal/policy": "a finding carries what the policy wants done about it",
	},
	"internal/chat": {
		"internal/scan": "completions, chunks and schemas are read in place, by the one parser",
	},
	"internal/expr": {
		"internal/fault": "errors without package fmt",
		"internal/scan":  "conditions read requests and answers in place, without a copy",
	},
	"internal/rules": {
		"internal/expr":   "the rows of a decision table are conditions",
		"internal/fault":  "errors without package fmt",
		"internal/policy": "a table is compiled from a policy's rules",
		"internal/scan":   "templates splice values of the request as they were written",
	},
	"internal/protocol": {
		"internal/chat":   "a completion is read by the package that writes them",
		"internal/policy": "the protocol's name is the policy's",
		"internal/scan":   "one parser decides and rewrites",
		"internal/tensor": "the binary extension is raw elements behind the JSON",
	},
	"internal/detect": {
		"internal/chat":     "what a request for a completion asks for, and what its choices say",
		"internal/expr":     "detectors by condition",
		"internal/fault":    "errors without package fmt",
		"internal/inflate":  "an answer that is compressed all the same is judged by its content",
		"internal/policy":   "a detector is compiled from a policy",
		"internal/protocol": "where an answer's outputs are",
		"internal/scan":     "what an output's values are",
		"internal/tensor":   "raw elements of binary outputs",
		"internal/time":     "how long answers take",
		"internal/verdict":  "what it returns",
	},

	"internal/local": {
		"internal/chat":    "an answer takes the form that was asked for, and a stream ends with an error event",
		"internal/detect":  "an answer is made for an exchange, and echoes its id",
		"internal/inflate": "a completion that becomes a stream is read first",
		"internal/policy":  "the rungs that it answers by",
		"internal/rules":   "decision tables, and templates of the default",
		"internal/time":    "what is kept back of a deadline",
		"internal/verdict": "why it is asked",
	},

	// Configuration: text to policies.
	"internal/api/v1alpha1": {},
	"internal/tenant":       {},
	"internal/config": {
		"internal/api/v1alpha1": "what it loads",
		"internal/scan":         "a default's body and a path are held against the reader that will meet them",
		"internal/tenant":       "which files an object may name",
	},
	"internal/celc": {
		"internal/expr": "it writes expr's wire form, and holds it against expr's own decoder",
	},
	"internal/compile": {
		"internal/api/v1alpha1": "what it compiles",
		"internal/celc":         "conditions are type-checked at load, never per request",
		"internal/config":       "objects come with their file and line, for the messages",
		"internal/detect":       "what no detector can be made of is no valid policy",
		"internal/kill":         "what is killed gets no weight",
		"internal/policy":       "what it writes",
		"internal/rules":        "templates are checked by the package that will fill them",
	},

	// The ladder: what answers.
	"internal/breaker": {
		"internal/policy": "its settings",
		"internal/time":   "its clock",
	},
	"internal/bulkhead": {},
	"internal/budget": {
		"internal/policy": "its settings",
		"internal/time":   "its clock",
	},
	"internal/cache": {
		"internal/breaker": "a dead Redis is not asked",
		"internal/policy":  "the rung's settings",
		"internal/scan":    "a key is made from the canonical form of the request",
	},
	"internal/fallback": {
		"internal/chat":     "the model's name in a completion's request",
		"internal/inflate":  "a stream that is compressed cannot be inspected as it comes",
		"internal/policy":   "the rung's settings",
		"internal/protocol": "gRPC's frames, statuses and requests",
		"internal/scan":     "the request's own members, where they stand",
		"internal/tenant":   "where the model's files have to be",
	},
	"internal/refresh": {
		"internal/policy": "the default's settings",
		"internal/tenant": "where a default's file has to be",
	},
	"internal/ladder": {
		"internal/breaker":  "a fallback has one",
		"internal/budget":   "the share of a route's requests that it may answer",
		"internal/bulkhead": "a fallback has one",
		"internal/cache":    "the first rung",
		"internal/detect":   "a fallback's answer passes the same detection",
		"internal/fallback": "the second rung",
		"internal/inflate":  "a compressed answer is reshaped by its content",
		"internal/kill":     "what is killed no rung asks, and no cache gives",
		"internal/local":    "the rungs that need nobody, which every host has",
		"internal/policy":   "the order of the rungs",
		"internal/protocol": "a fallback's path, and the id of a cached answer",
		"internal/refresh":  "a default that is read out of band",
		"internal/scan":     "the request's values for templates and keys",
		"internal/tenant":   "where the files of fallback models have to be",
		"internal/verdict":  "why it is asked",
	},

	// Releases: which version gets the traffic.
	"internal/release":    {},
	"internal/sequential": {},
	"internal/policies":   {},
	"internal/signing": {
		"internal/policy": "the names and the format that a signature binds",
	},
	"internal/signing/keyring": {
		"internal/signing":   "the ring that it keeps",
		"internal/store":     "where it is kept",
		"internal/telemetry": "the log",
	},
	"internal/store": {},
	"internal/store/etcd": {
		"internal/store": "the interface that it is an engine of",
	},
	"internal/store/kube": {
		"internal/api/v1alpha1": "the kind that records are kept in",
		"internal/store":        "the interface that it is an engine of",
	},
	"internal/store/storetest": {
		"internal/store": "what an engine has to do",
	},
	"internal/audit": {
		"internal/store": "replicas see each other's chains there",
	},
	"internal/signals/signalsv1": {},
	"internal/signals/slot": {
		"internal/time": "latencies",
	},
	"internal/signals": {
		"internal/breaker":           "hosts share the states of theirs",
		"internal/policy":            "a shared breaker has the settings of the hosts' own",
		"internal/signals/signalsv1": "what goes over the wire",
		"internal/signals/slot":      "every host puts an answer in the same place",
		"internal/verdict":           "bad answers are counted by detector",
	},
	"internal/checks": {},
	"internal/readiness": {
		"internal/compile": "the endpoints that it asks",
	},
	"internal/strictyaml": {},
	"internal/access": {
		"internal/strictyaml": "the access file is read strictly",
	},
	"internal/notify": {
		"internal/kill":       "what is told of kills",
		"internal/release":    "what is told of releases",
		"internal/strictyaml": "the notify file is read strictly",
	},
	"internal/admin/adminv1": {},
	"internal/admin": {
		"internal/access":        "who asks, and what that one may do",
		"internal/admin/adminv1": "what goes over the wire of gRPC",
		"internal/audit":         "the trail is read through it",
		"internal/kill":          "kills are told as they are",
		"internal/release":       "it tells of states and records as they are",
		"internal/store":         "an error of the store has a status of its own",
	},
	"internal/admin/view": {
		"internal/admin":   "what it shows",
		"internal/release": "records and states are part of it",
	},
	"internal/control": {
		"envoy":                 "a release becomes the proxies' configuration",
		"envoy/xds":             "which proxies have it",
		"internal/admin":        "what a person asks for, and is told",
		"internal/audit":        "what is done is recorded before it is acknowledged",
		"internal/feed":         "how hosts that run apart are told of kills",
		"internal/kill":         "what is stopped, and given back",
		"internal/probe":        "what the proxies' workers show of a kill",
		"internal/api/v1alpha1": "a pinned policy takes the place of a file's",
		"internal/breaker":      "the keys of breakers that hosts share",
		"internal/checks":       "Prometheus is asked what the checks want to know",
		"internal/compile":      "the models, their plans, and the snapshot that weights are laid over",
		"internal/config":       "a pinned policy takes the place of a file's",
		"internal/policies":     "the history of policies",
		"internal/policy":       "the settings of breakers that hosts share",
		"internal/readiness":    "a version without endpoints is no target",
		"internal/release":      "what it decides by",
		"internal/sequential":   "what the answers of a version say of it",
		"internal/signals":      "what the hosts report",
		"internal/signing":      "who signs the policies that it publishes",
		"internal/store":        "where it is kept",
		"internal/telemetry":    "the log",
	},

	// Inside Envoy.
	"wasm": {
		"wasm/filter":    "what it does",
		"wasm/proxywasm": "how it starts",
	},
	"wasm/proxywasm": {
		"wasm/proxywasm/abi":   "the numbers, and the form of header pairs",
		"wasm/proxywasm/types": "the contexts that it calls",
	},
	"wasm/proxywasm/abi":   {},
	"wasm/proxywasm/types": {},
	"wasm/filter": {
		"internal/breaker":      "each worker has its own",
		"internal/budget":       "the share of a route's requests that are answered in the model's place",
		"internal/chat":         "streams of events are told from whole answers",
		"internal/detect":       "the verdict",
		"internal/inflate":      "what a compressed body may become counts as memory",
		"internal/local":        "the answer",
		"internal/policy":       "what the route's metadata has",
		"internal/scan":         "the plugin's configuration",
		"internal/signals/slot": "where an answer counts",
		"internal/time":         "when what waits is due",
		"internal/verdict":      "the reason on the wire",
		"wasm/proxywasm":        "how Envoy is asked and told",
		"wasm/proxywasm/types":  "what Envoy calls",
	},

	// The process.
	"internal/telemetry": {
		"internal/breaker": "its states are a metric",
		"internal/policy":  "routes and versions are labels",
		"internal/verdict": "detectors are labels",
	},
	"internal/kill": {},
	"internal/probe": {
		"envoy": "the host that a probe asks for",
	},
	"internal/feed": {
		"internal/kill":    "what a host is told to enforce",
		"internal/signing": "whose policies a host is told to take",
	},
	"extproc": {
		"internal/breaker":           "a version whose breaker is open is not asked",
		"internal/budget":            "spent and earned per route",
		"internal/bulkhead":          "requests in flight at a version",
		"internal/cache":             "one store for all routes",
		"internal/chat":              "a committed stream that fails ends with an error event",
		"internal/detect":            "the verdict",
		"internal/kill":              "what is killed is not asked, and its answers are not given",
		"internal/inflate":           "what a compressed body may become counts as memory",
		"internal/ladder":            "the answer",
		"internal/local":             "what a caller is told in errors, and the tags of answers",
		"internal/policy":            "what Envoy hands over with a request",
		"internal/protocol":          "gRPC's frames, statuses and messages are made at this edge",
		"internal/refresh":           "one reader for all routes",
		"internal/signals":           "what is seen of each version is reported",
		"internal/signals/signalsv1": "what filters inside Envoy report",
		"internal/signing":           "a policy that others can bring is verified",
		"internal/telemetry":         "every outcome is counted",
		"internal/tenant":            "a policy that names files of others is refused",
		"internal/verdict":           "the reason on the wire",
	},
	"envoy": {
		"internal/chat":     "the error object that Envoy alone answers chat with",
		"internal/compile":  "what it renders",
		"internal/kill":     "the modes that it answers by, and the targets that Envoy's runtime names",
		"internal/policy":   "the keys of the metadata",
		"internal/protocol": "which gRPC statuses fail a call, and the message that Envoy alone answers with",
		"internal/verdict":  "the reasons that Envoy alone can give",
	},
	"envoy/xds": {
		"envoy": "what it serves",
	},
	"istio/controller": {
		"internal/api/v1alpha1": "the objects that it reads",
		"internal/compile":      "what it reads is compiled, and what it writes is a snapshot",
		"internal/config":       "objects are read as files are, and routes are rules",
		"internal/kill":         "what a KillSwitch stops",
		"istio":                 "what it writes",
	},
	"istio": {
		"envoy":                 "the filters and the last rung are the same, whoever configures the proxy",
		"internal/api/v1alpha1": "which port of a Service a model means",
		"internal/compile":      "what it renders",
		"internal/config":       "what of a mesh's routes a configuration goes by",
		"internal/policy":       "its versions are known by the clusters' names",
	},
	"internal/serve": {
		"envoy":                      "what the proxies' configuration depends on",
		"envoy/xds":                  "the proxies are served here",
		"extproc":                    "the processor is served here",
		"internal/access":            "who may ask is opened here",
		"internal/audit":             "the trail is opened here",
		"internal/admin":             "its API is served here",
		"internal/compile":           "configuration becomes policies",
		"internal/config":            "the folder is read here",
		"internal/control":           "releases are decided here",
		"internal/feed":              "a processor that runs apart is told of kills",
		"internal/kill":              "what is killed is told of",
		"internal/notify":            "who is told is opened here",
		"internal/policy":            "routes are told apart by it",
		"internal/release":           "its records are told of",
		"internal/signals":           "the processor's reports go to the control plane",
		"internal/signals/signalsv1": "reports of filters inside Envoy are handed on",
		"internal/signing":           "whose policies the processor takes",
		"internal/signing/keyring":   "the keys are kept by the process that has the store",
		"internal/store":             "one that is away is joined later",
		"internal/store/etcd":        "the store is opened here",
		"internal/strictyaml":        "a file that others may write is refused, here too",
		"internal/telemetry":         "/metrics, the log and traces",
		"internal/tenant":            "which files policies may name is set here",
		"internal/store/kube":        "where the state is kept in Kubernetes",
		"istio":                      "what the mesh's objects depend on",
		"istio/controller":           "where the configuration is read and written in Kubernetes",
	},
	"cmd/safestate": {
		"envoy":               "render",
		"internal/access":     "tokens, and the check of the file",
		"internal/audit":      "a trail is verified without a server",
		"internal/kill":       "what a person names to be stopped",
		"internal/admin":      "the client of the control plane's API",
		"internal/admin/view": "what on-call reads",
		"internal/compile":    "validate and render",
		"internal/config":     "a host for a whole folder, held against its policies",
		"internal/control":    "what a data folder remembers beside the store",
		"internal/release":    "the steps and commands that a person writes",
		"internal/serve":      "serve",
		"internal/signing":    "keys of one's own, and what render signs by",
		"internal/store/etcd": "store restore",
		"istio":               "render istio",
	},

	// What tests and tries the product out, and is imported by none of it.
	"cmd/samplemodel": {
		"e2e/faultmodel": "the sample model is the model that fails on command",
	},
	"cmd/sandbox": {
		"internal/admin": "the demo asks safestate as the commands do",
	},
	"e2e":         {},
	"e2e/foreign": {},
	"e2e/memory":  {},
	"e2e/streams": {
		"e2e/dataplane":     "a real Envoy and a real safestate",
		"e2e/faultmodel":    "models whose streams break on command",
		"internal/porttest": "ports that a test may listen at twice",
	},
	"wasm/emulator": {
		"e2e/dataplane":        "a real Envoy to be held against",
		"internal/porttest":    "Envoy's ports",
		"wasm/proxywasm":       "a filter that runs natively",
		"wasm/proxywasm/abi":   "what a host hands over, and how",
		"wasm/proxywasm/types": "the filter's contexts",
	},
	"wasm/emulator/probe": {
		"wasm/proxywasm":       "what a host is asked, to compare hosts",
		"wasm/proxywasm/types": "what a host calls, to compare hosts",
	},
	"wasm/emulator/probe/module": {
		"wasm/emulator/probe": "what it does",
		"wasm/proxywasm":      "how it starts",
	},
	"e2e/dataplane": {
		"internal/porttest": "ports for Envoy and what is behind it",
	},
	"e2e/clients": {
		"e2e/dataplane": "where make puts the clients' libraries",
	},
	"e2e/faultmodel": {},
	"bench":          {},
	"bench/noop":     {},
	"bench/rollback": {},
	"bench/release": {
		"internal/sequential": "the test that it measures",
	},
	"bench/xds": {
		"envoy":            "the configuration that is served",
		"envoy/xds":        "the server that is measured",
		"internal/compile": "a world of routes like a user's",
		"internal/config":  "a world of routes like a user's",
		"internal/kill":    "a kill is measured",
	},
	"bench/noopfilter": {
		"wasm/proxywasm":       "what any filter in Go is made of",
		"wasm/proxywasm/types": "what any filter in Go is made of",
	},
	"e2e/istio/product": {},
	"e2e/istio/cluster": {
		"e2e/dataplane":     "processes, and Envoy itself",
		"internal/porttest": "ports for them",
	},
	"e2e/tlsmesh":               {},
	"e2e/istio/conformance":     {},
	"e2e/api":                   {},
	"e2e/releases":              {},
	"e2e/kill":                  {},
	"e2e/killstore":             {},
	"e2e/istio":                 {},
	"e2e/kube":                  {},
	"e2e/xds":                   {},
	"internal":                  {},
	"internal/certtest":         {},
	"internal/porttest":         {},
	"internal/deploytest":       {},
	"internal/deploytest/probe": {},
}

// core are the packages that are linked into a WASM module as well.
var core = []string{
	"internal/policy", "internal/verdict", "internal/scan", "internal/tensor", "internal/inflate",
	"internal/expr", "internal/rules", "internal/chat", "internal/protocol", "internal/detect",
	"internal/local", "internal/fault", "internal/time", "internal/time/plain",
}

// outside are the packages from outside the standard library that one package
// of the core may import all the same, with the reason.
var outside = map[string]struct{ by, reason string }{
	"google.golang.org/protobuf/encoding/protowire": {"internal/protocol", "the primitives of protobuf's wire form, without its reflection and registry"},
}

// forbidden are imports that the core must not have, with the reason.
var forbidden = map[string]string{
	"net":           "the core does no I/O",
	"net/http":      "the core does no I/O, and net/http alone is larger than all of it",
	"os":            "the core does no I/O",
	"regexp":        "its tables are large, and its time depends on the text",
	"text/template": "it runs methods by reflection",
	"log":           "the host logs",
}

// only are modules that one package alone may import, tests apart.
var only = map[string]struct{ by, reason string }{
	"cel.dev/cel-go":            {"internal/celc", "what runs per request is our own evaluator"},
	"github.com/redis/rueidis":  {"internal/cache", "one place knows Redis"},
	"github.com/rs/zerolog":     {"internal/telemetry cmd/safestate", "one place shapes log lines; the command reads a level"},
	"github.com/prometheus":     {"internal/telemetry internal/checks", "one place names metrics, another asks a server for them"},
	"github.com/coreos/go-oidc": {"internal/access", "one place checks tokens"},
	"github.com/go-jose":        {"internal/access", "one place checks tokens"},
	"go.etcd.io":                {"internal/store/etcd", "one place knows etcd"},
	"go.opentelemetry.io":       {"internal/telemetry", "one place names spans"},
}

// imports parses every Go file that is no test and returns, per package, what
// it imports. It parses in process: a test that shells out to the go tool was
// served a cached pass.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	const root = ".."
	found := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil && rel != "." {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		pkg := path.Dir(rel)
		if found[pkg] == nil {
			found[pkg] = map[string]bool{}
		}
		if strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			found[pkg][name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for pkg, set := range found {
		out[pkg] = slices.Sorted(maps.Keys(set))
	}
	if len(out) < 20 {
		t.Fatalf("only %d packages found", len(out))
	}
	return out
}

func TestImportsAreStated(t *testing.T) {
	found := imports(t)
	used := map[string]map[string]bool{}
	for pkg, list := range found {
		stated, ok := edges[pkg]
		if !ok {
			t.Errorf("package %s has no entry in edges", pkg)
		}
		used[pkg] = map[string]bool{}
		for _, name := range list {
			rel, ours := strings.CutPrefix(name, module)
			if !ours {
				continue
			}
			used[pkg][rel] = true
			if stated[rel] == "" {
				t.Errorf("%s imports %s, and edges gives no reason for it", pkg, rel)
			}
		}
	}
	for pkg, stated := range edges {
		if _, ok := found[pkg]; !ok {
			t.Errorf("edges has %s, which does not exist", pkg)
		}
		for rel := range stated {
			if !used[pkg][rel] {
				t.Errorf("edges lets %s import %s, which it does not", pkg, rel)
			}
		}
	}
}

func TestCoreIsPure(t *testing.T) {
	found := imports(t)
	for _, pkg := range core {
		for _, name := range found[pkg] {
			rel, ours := strings.CutPrefix(name, module)
			switch {
			case ours && !slices.Contains(core, rel):
				t.Errorf("%s is core and imports %s, which is not", pkg, rel)
			case outside[name].by == pkg:
			case !ours && strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
				t.Errorf("%s is core and imports %s from outside the standard library", pkg, name)
			case forbidden[name] != "":
				t.Errorf("%s is core and imports %s: %s", pkg, name, forbidden[name])
			}
		}
	}
}

func TestModulesStayInTheirPlace(t *testing.T) {
	seen := map[string]bool{}
	for pkg, list := range imports(t) {
		for _, name := range list {
			for prefix, rule := range only {
				if name != prefix && !strings.HasPrefix(name, prefix+"/") {
					continue
				}
				seen[prefix] = true
				if !slices.Contains(strings.Fields(rule.by), pkg) {
					t.Errorf("%s imports %s, which only %s may: %s", pkg, name, rule.by, rule.reason)
				}
			}
		}
	}
	for prefix := range only {
		if !seen[prefix] {
			t.Errorf("nobody imports %s any more", prefix)
		}
	}
}

// TestMapIsDrawn holds the map in doc.go against the packages there are.
func TestMapIsDrawn(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range edges {
		name := path.Base(pkg)
		switch {
		case pkg == "internal/api/v1alpha1":
			name = "api"
		case !strings.HasPrefix(pkg, "internal/") || pkg == "internal/deploytest/probe":
			continue
		}
		if !strings.Contains(string(text), name) {
			t.Errorf("doc.go does not draw %s", pkg)
		}
	}
}
