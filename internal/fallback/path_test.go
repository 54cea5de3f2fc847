package fallback

import (
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

func TestPathOf(t *testing.T) {
	cases := []struct {
		name  string
		cfg   policy.Fallback
		asked string
		want  string // empty: an error
	}{
		{"V2", policy.Fallback{Protocol: policy.OpenInferenceV2, ServedName: "small"}, "/v2/models/fraud/infer", "/v2/models/small/infer"},
		{"V2 drops the primary's version", policy.Fallback{Protocol: policy.OpenInferenceV2, ServedName: "small"}, "/v2/models/fraud/versions/3/infer", "/v2/models/small/infer"},
		{"V1", policy.Fallback{Protocol: policy.OpenInferenceV1, ServedName: "small"}, "/v1/models/fraud:predict", "/v1/models/small:predict"},
		{"V1 keeps the verb", policy.Fallback{Protocol: policy.OpenInferenceV1, ServedName: "small"}, "/v1/models/fraud:explain?x=1", "/v1/models/small:explain"},
		{"TF", policy.Fallback{Protocol: policy.TensorFlowServing, ServedName: "small"}, "/v1/models/fraud/versions/2:classify", "/v1/models/small:classify"},
		{"TF without a verb", policy.Fallback{Protocol: policy.TensorFlowServing, ServedName: "small"}, "/score", "/v1/models/small:predict"},
		{"an odd name", policy.Fallback{Protocol: policy.OpenInferenceV2, ServedName: "a/b ?"}, "/", "/v2/models/a%2Fb%20%3F/infer"},
		{"MLflow", policy.Fallback{Protocol: policy.MLflow}, "/anything", "/invocations"},
		{"JSON keeps path and query", policy.Fallback{Protocol: policy.JSON}, "/score?full=1", "/score?full=1"},
		{"JSON keeps escapes", policy.Fallback{Protocol: policy.JSON}, "/a%2Fb", "/a%2Fb"},
		{"JSON with two slashes is still a path", policy.Fallback{Protocol: policy.JSON}, "//elsewhere/score", "//elsewhere/score"},
		{"JSON with a whole URL", policy.Fallback{Protocol: policy.JSON}, "http://elsewhere/score", ""},
		{"the policy's own", policy.Fallback{Protocol: policy.OpenInferenceV2, ServedName: "small", Path: "/v2/models/small/versions/7/infer"}, "/x", "/v2/models/small/versions/7/infer"},
		{"chat", policy.Fallback{Protocol: policy.OpenAI}, "/team/v1/chat/completions/?x=1", "/v1/chat/completions"},
		{"legacy completions", policy.Fallback{Protocol: policy.OpenAI}, "/v1/completions", "/v1/completions"},
		{"an own path of chat", policy.Fallback{Protocol: policy.OpenAI, Path: "/small/chat/completions?api-version=1"}, "/v1/chat/completions", "/small/chat/completions?api-version=1"},
		{"of chat, asked for legacy", policy.Fallback{Protocol: policy.OpenAI, Path: "/small/chat/completions/?api-version=1"}, "/v1/completions", "/small/completions?api-version=1"},
		{"of legacy, asked for chat", policy.Fallback{Protocol: policy.OpenAI, Path: "/small/completions"}, "/v1/chat/completions", "/small/chat/completions"},
		{"of neither", policy.Fallback{Protocol: policy.OpenAI, Path: "/generate"}, "/v1/completions", "/generate"},
		{"gRPC", policy.Fallback{Protocol: policy.OpenInferenceGRPC, ServedName: "small"}, "/p/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelInfer"},
		{"a protocol that there is not", policy.Fallback{Protocol: "Telegraph", ServedName: "gpt"}, "/v1/chat/completions", ""},
		{"no served name", policy.Fallback{Protocol: policy.OpenInferenceV2}, "/v2/models/fraud/infer", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := pathOf(&c.cfg, c.asked)
			switch {
			case c.want == "" && err == nil:
				t.Errorf("got %s, want an error", got)
			case c.want != "" && err != nil:
				t.Errorf("got %v, want %s", err, c.want)
			case c.want != "" && got.RequestURI() != c.want:
				t.Errorf("got %s, want %s", got.RequestURI(), c.want)
			}
		})
	}
}
