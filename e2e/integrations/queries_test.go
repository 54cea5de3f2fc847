package integrations

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	argov1 "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/utils/evaluate"
	argotemplate "github.com/argoproj/argo-rollouts/utils/template"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/metrics/observers"
	"github.com/fluxcd/flagger/pkg/metrics/providers"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	log "github.com/sirupsen/logrus"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// objects are those of a kind in a file.
func objects[T any](t testing.TB, file, what string) (out []*T) {
	t.Helper()
	for _, doc := range documents(t, file) {
		if nameOf(t, doc) == what {
			into := new(T)
			decode(t, doc, into)
			out = append(out, into)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no %s in %s", what, file)
	}
	return out
}

func canary(t testing.TB) *flaggerv1.Canary {
	t.Helper()
	return objects[flaggerv1.Canary](t, filepath.Join(flaggerFolder, "canary.yaml"), "flagger.app/v1beta1 Canary")[0]
}

// check is one metric of an analysis: a query, and what is made of its value.
type check struct {
	name  string
	query string
	judge func(t *testing.T, p *prometheus) outcome
}

// flaggerChecks are those of the Canary, with the query as Flagger renders it and the
// value as Flagger reads it. Which value passes is in runMetricChecks of its
// pkg/controller/scheduler_metrics.go.
func flaggerChecks(t *testing.T) (out []check) {
	t.Helper()
	templates := map[string]*flaggerv1.MetricTemplate{}
	for _, m := range objects[flaggerv1.MetricTemplate](t, filepath.Join(flaggerFolder, "metrics.yaml"), "flagger.app/v1beta1 MetricTemplate") {
		templates[m.Namespace+"/"+m.Name] = m
	}
	c := canary(t)
	for _, m := range c.Spec.Analysis.Metrics {
		of := templates[m.TemplateRef.Namespace+"/"+m.TemplateRef.Name]
		if of == nil {
			t.Fatalf("there is no template %+v", m.TemplateRef)
		}
		query, err := observers.RenderQuery(of.Spec.Query, flaggerv1.MetricTemplateModel{
			Name: c.Name, Namespace: c.Namespace, Target: c.Spec.TargetRef.Name, Service: c.Spec.Service.Name,
			Route: c.Spec.TargetRef.Name, Interval: m.Interval, Variables: m.TemplateVariables,
		})
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		most := m.ThresholdRange
		if most == nil || most.Max == nil || most.Min != nil {
			t.Fatalf("%s has the bounds %+v", m.Name, most)
		}
		out = append(out, check{m.Name, query, func(t *testing.T, p *prometheus) outcome {
			t.Helper()
			provider := of.Spec.Provider
			provider.Address = serve(t, p)
			asked, err := providers.NewPrometheusProvider(provider, nil)
			if err != nil {
				t.Fatal(err)
			}
			switch value, err := asked.RunQuery(query); {
			case errors.Is(err, providers.ErrNoValuesFound):
				return none
			case err != nil:
				t.Fatal(err)
				return ""
			case value > *most.Max:
				return failed
			default:
				return passed
			}
		}})
	}
	return out
}

// argoMetrics are those of an AnalysisTemplate as Argo Rollouts resolves them, with
// the arguments that the Rollout gives.
func argoMetrics(t testing.TB, name string) (out []argov1.Metric) {
	t.Helper()
	templates := objects[argov1.AnalysisTemplate](t, filepath.Join(argoFolder, "analysis.yaml"), "argoproj.io/v1alpha1 AnalysisTemplate")
	rollout := objects[argov1.Rollout](t, filepath.Join(argoFolder, "rollout.yaml"), "argoproj.io/v1alpha1 Rollout")[0]
	i := slices.IndexFunc(templates, func(a *argov1.AnalysisTemplate) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("there is no AnalysisTemplate %s", name)
	}
	args := slices.Clone(templates[i].Spec.Args)
	for k := range args {
		for _, given := range rollout.Spec.Strategy.Canary.Analysis.Args {
			if given.Name == args[k].Name {
				args[k].Value = &given.Value
			}
		}
		if from := args[k].ValueFrom; from != nil && from.SecretKeyRef != nil {
			token := secret
			args[k].Value = &token
		}
	}
	for _, metric := range templates[i].Spec.Metrics {
		text, err := json.Marshal(metric)
		if err != nil {
			t.Fatal(err)
		}
		resolved, err := argotemplate.ResolveQuotedArgs(string(text), args)
		if err != nil {
			t.Fatalf("%s: %v", metric.Name, err)
		}
		var m argov1.Metric
		if err := json.Unmarshal([]byte(resolved), &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// phases are Argo Rollouts' words for outcomes.
var phases = map[argov1.AnalysisPhase]outcome{
	argov1.AnalysisPhaseSuccessful: passed, argov1.AnalysisPhaseFailed: failed, argov1.AnalysisPhaseInconclusive: none,
}

// argoChecks are those of safestate-metrics, judged by Argo Rollouts' own conditions.
// A vector becomes a list of numbers there (metricproviders/prometheus).
func argoChecks(t *testing.T) (out []check) {
	t.Helper()
	for _, m := range argoMetrics(t, "safestate-metrics") {
		query := m.Provider.Prometheus.Query
		out = append(out, check{m.Name, query, func(t *testing.T, p *prometheus) outcome {
			t.Helper()
			phase, err := evaluate.EvaluateResult(values(t, serve(t, p), query), m, *log.NewEntry(log.New()))
			if err != nil || phases[phase] == "" {
				t.Fatalf("%s, %v", phase, err)
			}
			return phases[phase]
		}})
	}
	return out
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// values are those of a query's answer.
func values(t testing.TB, address, query string) []float64 {
	t.Helper()
	resp, err := http.Get(address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", query, resp.Status, err)
	}
	out := make([]float64, 0)
	for _, r := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, value)
	}
	return out
}

// TestQueriesJudgeTraffic has each tool look at what Prometheus scraped.
func TestQueriesJudgeTraffic(t *testing.T) {
	flagger, argo := flaggerChecks(t), argoChecks(t)
	if len(flagger) != 3 || len(argo) != 3 {
		t.Fatalf("Flagger has %d checks and Argo Rollouts %d", len(flagger), len(argo))
	}
	for name, c := range traffics {
		t.Run(name, func(t *testing.T) {
			p := under(t, c.tick())
			wants := []outcome{c.bad, c.ladder, c.latency}
			for i, check := range argo {
				if got := check.judge(t, p); got != wants[i] {
					t.Errorf("Argo Rollouts: %s %s, want %s", check.name, got, wants[i])
				}
			}
			if c.flaggerBad != "" {
				wants = []outcome{c.flaggerBad, c.flaggerLadder, c.flaggerLatency}
			}
			for i, check := range flagger {
				if got := check.judge(t, p); got != wants[i] {
					t.Errorf("Flagger: %s %s, want %s", check.name, got, wants[i])
				}
			}
		})
	}
}

// TestNoValueIsNeitherSuccessNorFailure holds the conditions against every value that
// is none, whatever a query yields.
func TestNoValueIsNeitherSuccessNorFailure(t *testing.T) {
	for _, m := range argoMetrics(t, "safestate-metrics") {
		for _, result := range [][]float64{{}, {math.NaN()}} {
			phase, err := evaluate.EvaluateResult(result, m, *log.NewEntry(log.New()))
			if phase != argov1.AnalysisPhaseInconclusive || err != nil {
				t.Errorf("%s of %v: %s, %v", m.Name, result, phase, err)
			}
		}
		if m.InconclusiveLimit == nil || m.InconclusiveLimit.IntValue() < 5 || m.ConsecutiveErrorLimit == nil || m.ConsecutiveErrorLimit.IntValue() < 60 {
			t.Errorf("%s: %v inconclusive or %v missing measurements end the analysis", m.Name, m.InconclusiveLimit, m.ConsecutiveErrorLimit)
		}
	}
}

// TestQueriesAskForWhatIsThere: every selector finds a series in what a real processor
// answers to a scrape, once it has counted what a selector may be about.
func TestQueriesAskForWhatIsThere(t *testing.T) {
	p := newProcessor(policy.Enforce)
	p.clean(candidate, 1, time.Second)
	p.failed(candidate, 1, verdict.NonFinite)
	all := samples(t, p.metrics.Handler())
	for _, c := range append(flaggerChecks(t), argoChecks(t)...) {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(c.query)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		selectors := 0
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if s, ok := node.(*parser.VectorSelector); ok {
				selectors++
				if !slices.ContainsFunc(all, func(x sample) bool { return matches(x.labels, s.LabelMatchers) }) {
					t.Errorf("%s: nothing is %s", c.name, s)
				}
			}
			return nil
		})
		if selectors < 2 {
			t.Errorf("%s asks for %d series", c.name, selectors)
		}
	}
}

// matches says whether a series has all the labels that are asked for, with values
// that fit: one that it does not have at all does not fit.
func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !l.Has(m.Name) || !m.Matches(l.Get(m.Name)) })
}

// TestQueriesNameDetectors: what is left out by name is what has that name.
func TestQueriesNameDetectors(t *testing.T) {
	for _, c := range append(flaggerChecks(t), argoChecks(t)...) {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(c.query)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			s, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			for _, m := range s.LabelMatchers {
				for word := range strings.SplitSeq(m.Value, "|") {
					if m.Name == "detector" && !slices.Contains(verdict.Detectors, verdict.Detector(word)) {
						t.Errorf("%s: there is no detector %s", c.name, word)
					}
				}
			}
			return nil
		})
	}
}

// TestTemplatesWithoutTheirVariables: Flagger halts where a Canary does not say which
// version it is about, and asks for nothing else instead.
func TestTemplatesWithoutTheirVariables(t *testing.T) {
	for _, m := range objects[flaggerv1.MetricTemplate](t, filepath.Join(flaggerFolder, "metrics.yaml"), "flagger.app/v1beta1 MetricTemplate") {
		if query, err := observers.RenderQuery(m.Spec.Query, flaggerv1.MetricTemplateModel{Namespace: "default", Interval: "1m"}); err == nil {
			t.Errorf("%s becomes %s", m.Name, query)
		}
	}
}
