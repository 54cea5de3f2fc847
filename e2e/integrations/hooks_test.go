package integrations

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/argoproj/argo-rollouts/metricproviders/webmetric"
	argov1 "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/controller"
	log "github.com/sirupsen/logrus"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// accessFile is the one of the documentation, with Argo Rollouts' token.
func accessFile(t *testing.T, models string) string {
	t.Helper()
	digest, err := access.Digest(secret)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("%DIGEST%", digest, "%MODELS%", models).Replace(grants)
}

// webhook is the Canary's of a type.
func webhook(t *testing.T, of flaggerv1.HookType) (*flaggerv1.Canary, flaggerv1.CanaryWebhook) {
	t.Helper()
	c := canary(t)
	i := slices.IndexFunc(c.Spec.Analysis.Webhooks, func(w flaggerv1.CanaryWebhook) bool { return w.Type == of })
	if i < 0 {
		t.Fatalf("the Canary has no webhook of type %s", of)
	}
	return c, c.Spec.Analysis.Webhooks[i]
}

// TestFlaggerAsks has Flagger call the webhooks of the Canary as it does in an
// analysis. No error is a yes: it then rolls back, or promotes.
func TestFlaggerAsks(t *testing.T) {
	for of, yes := range map[flaggerv1.HookType]admin.Judgement{flaggerv1.RollbackHook: admin.Bad, flaggerv1.ConfirmPromotionHook: admin.Good} {
		for name, f := range found {
			a := serving(t, f.control, accessFile(t, `"default/fraud"`))
			c, hook := webhook(t, of)
			hook.URL = a.there(t, hook.URL)
			for _, phase := range []flaggerv1.CanaryPhase{flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaiting, flaggerv1.CanaryPhaseWaitingPromotion} {
				err := controller.CallWebhook(*c, phase, hook)
				body, status := a.last()
				if (err == nil) != (f.judgement == yes) || status != map[bool]int{true: 200, false: 409}[f.judgement == yes] {
					t.Errorf("%s of a version that %s: %d, %v", of, name, status, err)
				}
				if err != nil && !strings.Contains(err.Error(), "it is "+string(f.judgement)) {
					t.Errorf("%s of a version that %s: %v, want the reason", of, name, err)
				}
				var sent flaggerv1.CanaryWebhookPayload
				if err := json.Unmarshal([]byte(body), &sent); err != nil || sent.Name != "fraud" || sent.Namespace != "default" || sent.Phase != phase || sent.Checksum == "" {
					t.Errorf("Flagger sent %s", body)
				}
			}
		}
	}
}

// TestFlaggerTakesErrorsForNo: whichever way it fails, nothing is rolled back and
// nothing is promoted.
func TestFlaggerTakesErrorsForNo(t *testing.T) {
	for of, yes := range map[flaggerv1.HookType]*stood{flaggerv1.RollbackHook: seen(release.Failure, "bad"), flaggerv1.ConfirmPromotionHook: seen(release.Success, "well")} {
		c, hook := webhook(t, of)
		ask := func(a *asked, edit func(string) string) (int, error) {
			hook := hook
			hook.URL = edit(a.there(t, hook.URL))
			err := controller.CallWebhook(*c, flaggerv1.CanaryPhaseProgressing, hook)
			_, status := a.last()
			return status, err
		}
		same := func(url string) string { return url }
		everybody := accessFile(t, `"default/fraud"`)
		if status, err := ask(serving(t, yes, everybody), same); status != 200 || err != nil {
			t.Fatalf("%s without any of them: %d, %v", of, status, err)
		}
		for name, c := range map[string]struct {
			file   string
			edit   func(string) string
			status int
		}{
			"a version that is not there":                {everybody, func(u string) string { return strings.Replace(u, candidate, "canary-2", 1) }, 404},
			"a model that is not there":                  {everybody, func(u string) string { return strings.Replace(u, "/fraud/", "/fruad/", 1) }, 403},
			"a path that is not there":                   {everybody, func(u string) string { return u + "s" }, 404},
			"nobody without a credential may read":       {strings.Replace(everybody, "anonymous, ", "", 1), same, 401},
			"nobody without a credential may read of it": {accessFile(t, `"shop/*"`), same, 403},
			"safestate is away":                          {everybody, func(u string) string { _, path, _ := strings.Cut(u, "/v1/"); return "http://127.0.0.1:1/v1/" + path }, 0},
		} {
			if status, err := ask(serving(t, yes, c.file), c.edit); status != c.status || err == nil {
				t.Errorf("%s, %s: %d, %v; want %d and an error", of, name, status, err, c.status)
			}
		}
	}
}

// measured has Argo Rollouts ask by the web provider of a template.
func measured(t *testing.T, a *asked, template string, edit func(*argov1.WebMetric)) argov1.Measurement {
	t.Helper()
	metrics := argoMetrics(t, template)
	if len(metrics) != 1 {
		t.Fatalf("%s has %d metrics", template, len(metrics))
	}
	m := metrics[0]
	m.Provider.Web.URL = a.there(t, m.Provider.Web.URL)
	edit(m.Provider.Web)
	client, err := webmetric.NewWebMetricHttpClient(m)
	if err != nil {
		t.Fatal(err)
	}
	path, err := webmetric.NewWebMetricJsonParser(m)
	if err != nil {
		t.Fatal(err)
	}
	return webmetric.NewWebMetricProvider(*log.NewEntry(log.New()), client, path).Run(&argov1.AnalysisRun{}, m)
}

var argoPhases = map[admin.Judgement]argov1.AnalysisPhase{
	admin.Good: argov1.AnalysisPhaseSuccessful, admin.Bad: argov1.AnalysisPhaseFailed, admin.Unknown: argov1.AnalysisPhaseInconclusive,
}

// onlyArgo lets nobody in without a credential.
func onlyArgo(t *testing.T) string {
	t.Helper()
	return strings.Replace(accessFile(t, `"default/fraud"`), "anonymous, ", "", 1)
}

// TestArgoRolloutsAsks: by the token of its Secret, for the one word of a version.
func TestArgoRolloutsAsks(t *testing.T) {
	for _, template := range []string{"safestate-watch", "safestate-gate"} {
		for name, f := range found {
			a := serving(t, f.control, onlyArgo(t))
			got := measured(t, a, template, func(*argov1.WebMetric) {})
			if want := argoPhases[f.judgement]; got.Phase != want || got.Value != `"`+string(f.judgement)+`"` {
				t.Errorf("%s of a version that %s: %s (%s %s), want %s", template, name, got.Phase, got.Value, got.Message, want)
			}
		}
	}
}

// TestArgoRolloutsTakesErrorsForErrors: they are no failure and no success, and an hour
// of them ends nothing.
func TestArgoRolloutsTakesErrorsForErrors(t *testing.T) {
	for _, template := range []string{"safestate-watch", "safestate-gate"} {
		for name, c := range map[string]struct {
			file string
			edit func(*argov1.WebMetric)
		}{
			"no token":                    {onlyArgo(t), func(w *argov1.WebMetric) { w.Headers = nil }},
			"another token":               {onlyArgo(t), func(w *argov1.WebMetric) { w.Headers[0].Value = "Bearer " + access.NewToken() }},
			"a version that is not there": {onlyArgo(t), func(w *argov1.WebMetric) { w.URL += "0" }},
			"another word":                {onlyArgo(t), func(w *argov1.WebMetric) { w.JSONPath = "{$.verdict}" }},
			"safestate is away":           {onlyArgo(t), func(w *argov1.WebMetric) { w.URL = "http://127.0.0.1:1/" }},
		} {
			if got := measured(t, serving(t, seen(release.Failure, "bad"), c.file), template, c.edit); got.Phase != argov1.AnalysisPhaseError {
				t.Errorf("%s, %s: %s (%s %s)", template, name, got.Phase, got.Value, got.Message)
			}
		}
		m := argoMetrics(t, template)[0]
		if m.ConsecutiveErrorLimit == nil || m.ConsecutiveErrorLimit.IntValue() < 360 || m.InconclusiveLimit == nil || m.InconclusiveLimit.IntValue() < 100 {
			t.Errorf("%s: %v errors or %v inconclusive measurements end it", template, m.ConsecutiveErrorLimit, m.InconclusiveLimit)
		}
		if m.Count != nil || m.FailureLimit != nil || m.Interval == "" {
			t.Errorf("%s: it ends before it knows, or goes on with a version that is bad: %+v", template, m)
		}
	}
	if m := argoMetrics(t, "safestate-gate")[0]; m.ConsecutiveSuccessLimit == nil || m.ConsecutiveSuccessLimit.IntValue() != 1 {
		t.Errorf("safestate-gate waits for %v successes", m.ConsecutiveSuccessLimit)
	}
}
