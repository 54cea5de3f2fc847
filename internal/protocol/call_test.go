package protocol

import (
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

func TestInference(t *testing.T) {
	const (
		v1 = policy.OpenInferenceV1
		v2 = policy.OpenInferenceV2
		tf = policy.TensorFlowServing
		ml = policy.MLflow
		js = policy.JSON
	)
	for _, c := range []struct {
		protocol     policy.Protocol
		method, path string
		want         bool
	}{
		{v2, "POST", "/v2/models/fraud/infer", true},
		{v2, "POST", "/v2/models/fraud/versions/3/infer", true},
		{v2, "POST", "/prefix/v2/models/fraud/infer?timeout=1", true},
		{v2, "POST", "/v2/models/fraud/infer/", true},
		{v2, "GET", "/v2/models/fraud/infer", true},
		{v2, "PUT", "/v2/models/fraud/infer", true},
		{v2, "OPTIONS", "/v2/models/fraud/infer", false},
		{v2, "HEAD", "/v2/models/fraud/infer", false},
		{v2, "GET", "/v2/models/fraud", false},
		{v2, "GET", "/v2/models/fraud/ready", false},
		{v2, "GET", "/v2/health/live", false},
		{v2, "POST", "/v2/repository/index", false},
		{v2, "POST", "/v2/models/infer/unload", false},
		{v2, "POST", "/v2/models/fraud/reinfer", false},
		{v2, "POST", "/v2/models/fraud?next=/infer", false},
		{v1, "POST", "/v1/models/fraud:predict", true},
		{v1, "POST", "/v1/models/fraud%3Apredict", true},
		{v1, "POST", "/v1/models/fraud%3apredict?x", true},
		{v1, "POST", "/v1/models/fraud:explain", false},
		{v1, "GET", "/v1/models/fraud", false},
		{v1, "POST", "/v1/models/predict", false},
		{tf, "POST", "/v1/models/fraud/versions/2:predict", true},
		{tf, "POST", "/v1/models/fraud:classify", true},
		{tf, "POST", "/v1/models/fraud/labels/canary:regress", true},
		{tf, "GET", "/v1/models/fraud/metadata", false},
		{tf, "POST", "/v1/models/fraud:predicted", false},
		{ml, "POST", "/invocations", true},
		{ml, "POST", "/fraud/invocations/", true},
		{ml, "GET", "/ping", false},
		{ml, "GET", "/invocations", true},
		{ml, "POST", "/version", false},
		{js, "POST", "/anything", true},
		{js, "GET", "/score?x=1", true},
		{js, "PUT", "/", true},
		{js, "OPTIONS", "/score", false},
		{js, "HEAD", "/score", false},
		{policy.OpenAI, "POST", "/v1/chat/completions", true},
		{policy.OpenAI, "POST", "/openai/deployments/x/chat/completions?api-version=2024-10-21", true},
		{policy.OpenAI, "POST", "/v1/completions/", true},
		{policy.OpenAI, "OPTIONS", "/v1/chat/completions", false},
		{policy.OpenAI, "GET", "/v1/models", false},
		{policy.OpenAI, "POST", "/v1/embeddings", false},
	} {
		if got := Inference(c.protocol, c.method, c.path); got != c.want {
			t.Errorf("%s %s %s: %v, want %v", c.protocol, c.method, c.path, got, c.want)
		}
	}
}
