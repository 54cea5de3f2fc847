package kill

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
)

// row is a route to a model of one protocol, and what its callers get.
type row struct {
	name     string
	protocol policy.Protocol
	spec     string // protocol of the Model
	path     string // of a prediction, behind the route's own prefix; of gRPC the method
	request  string
	live     string // the model's answer
	standard string // the policy's default; empty: there is no policy
	lastRung string // of a GRPCRoute: Unavailable or Answer; empty: it is an HTTPRoute
	killed   map[kill.Mode]want
}

// want is what a caller of a killed route gets. Of an OK answer body is in it.
type want struct {
	status int        // over HTTP
	code   codes.Code // over gRPC
	source string
	reason string // how it begins; empty: not looked at, it is the ladder's
	body   string
}

// The answers: of the ladder, of Envoy alone, and none.
var (
	refused   = want{status: 503, code: codes.Unavailable, reason: "killed"}
	byLadder  = want{status: 200, source: "safe_default", body: "0.5"}
	byEnvoy   = want{status: 200, source: "safe_default", reason: "killed", body: "0.5"}
	byObject  = want{status: 503, source: "safe_default", reason: "killed", body: "safestate_killed"}
	byNobody  = map[kill.Mode]want{kill.Degrade: refused, kill.Default: refused, kill.Blackhole: refused}
	byDefault = map[kill.Mode]want{kill.Degrade: byLadder, kill.Default: byEnvoy, kill.Blackhole: refused}
)

const (
	tensors    = `{"model_name":"m","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`
	tensorsOwn = `{"model_name":"m","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}`
	asksV2     = `{"inputs":[{"name":"features","datatype":"FP32","shape":[1,1],"data":[1]}]}`
	completion = `{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"0.25"},"finish_reason":"stop"}]}`
	ownWords   = `{"id":"2","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"0.5"},"finish_reason":"stop"}]}`
)

// rows has at least one for each protocol.
var rows = []row{
	{name: "v1", protocol: policy.OpenInferenceV1, path: "/v1/models/m:predict", request: `{"instances":[[1]]}`, live: `{"predictions":[0.25]}`, standard: `{"predictions":[0.5]}`, killed: byDefault},
	{name: "v2", protocol: policy.OpenInferenceV2, path: "/v2/models/m/infer", request: asksV2, live: tensors, standard: tensorsOwn, killed: byDefault},
	{name: "tf", protocol: policy.TensorFlowServing, path: "/v1/models/m:predict", request: `{"instances":[[1]]}`, live: `{"predictions":[0.25]}`, standard: `{"predictions":[0.5]}`, killed: byDefault},
	{name: "mlflow", protocol: policy.MLflow, path: "/invocations", request: `{"inputs":[[1]]}`, live: `{"predictions":[0.25]}`, standard: `{"predictions":[0.5]}`, killed: byDefault},
	{name: "json", protocol: policy.JSON, path: "/score", request: `{"a":1}`, live: `{"score":0.25}`, standard: `{"score":0.5}`, killed: byDefault},
	{name: "chat", protocol: policy.OpenAI, path: "/v1/chat/completions", request: `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, live: completion, standard: ownWords,
		killed: map[kill.Mode]want{kill.Degrade: byLadder, kill.Default: byObject, kill.Blackhole: refused}},
	{name: "grpc-unavailable", protocol: policy.OpenInferenceGRPC, spec: "OpenInferenceV2", lastRung: "Unavailable", live: tensors, standard: tensorsOwn,
		killed: map[kill.Mode]want{kill.Degrade: byLadder, kill.Default: refused, kill.Blackhole: refused}},
	{name: "grpc-answer", protocol: policy.OpenInferenceGRPC, spec: "OpenInferenceV2", lastRung: "Answer", live: tensors, standard: tensorsOwn, killed: byDefault},
	{name: "plain", protocol: policy.JSON, path: "/score", request: `{"a":1}`, live: `{"score":0.25}`, killed: byNobody},
	{name: "plain-grpc", protocol: policy.OpenInferenceGRPC, spec: "OpenInferenceV2", lastRung: "Unavailable", live: tensors, killed: byNobody},
}

// targets are what each scope has to kill for a row to be killed.
var targets = map[kill.Scope]func(*row) kill.Target{
	kill.All:     func(*row) kill.Target { return kill.Everything },
	kill.Route:   func(r *row) kill.Target { return kill.ForRoute("default/" + r.name + "/all") },
	kill.Model:   func(r *row) kill.Target { return kill.ForModel("default/" + r.name) },
	kill.Version: func(r *row) kill.Target { return kill.ForVersion("default/"+r.name, "v1") },
}

// TestRows: every protocol, mode and scope that there is in code has its place in
// the matrix.
func TestRows(t *testing.T) {
	for _, p := range protocolsInCode(t) {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.protocol == p && r.standard != "" }) {
			t.Errorf("protocol %s has no row: what do callers of a killed model of it get?", p)
		}
	}
	for i := range rows {
		for _, mode := range kill.Modes() {
			if _, ok := rows[i].killed[mode]; !ok {
				t.Errorf("mode %s has no answer in row %s", mode, rows[i].name)
			}
		}
	}
	for _, scope := range kill.Scopes() {
		if targets[scope] == nil {
			t.Errorf("scope %s has no target", scope)
		}
	}
}

// protocolsInCode reads the constants of type policy.Protocol from their source.
func protocolsInCode(t *testing.T) (out []policy.Protocol) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../internal/policy/policy.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Protocol" {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, policy.Protocol(text))
		}
		return true
	})
	if len(out) < 7 || !slices.Contains(out, policy.OpenInferenceGRPC) {
		t.Fatalf("found %v only", out)
	}
	return out
}
