package istio_test

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/istio"
)

// TestLastRung: what a mesh's proxies cannot answer by themselves they refuse, it is
// said, and the policy is carried all the same.
func TestLastRung(t *testing.T) {
	s, problems := istio.Folder("../docs/samples/grpc", istio.Options{})
	if problems.Failed() || len(problems) != 1 || !strings.Contains(problems[0].String(), "warning: spec.grpcLastRung") {
		t.Fatal(problems)
	}
	if len(s.Routes) != 1 || strings.Contains(strings.ToLower(s.Routes[0].PolicyJSON), "lastrung") {
		t.Errorf("%d routes, the policy of the first: %s", len(s.Routes), s.Routes[0].PolicyJSON)
	}
	if objects := render(t, s, istio.Options{}); len(objects.Refused) > 0 || len(objects.Filters) == 0 {
		t.Errorf("refused: %v", objects.Refused)
	}
}
