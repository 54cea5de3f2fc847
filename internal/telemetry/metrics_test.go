package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

const fraudRoute = "default/fraud/score"

func fraud() *policy.Policy {
	return &policy.Policy{
		Route: fraudRoute, Model: "default/fraud", Mode: policy.Enforce,
		Versions: map[string]policy.Version{"default/fraud/v1": {Name: "v1"}, "default/fraud/v2": {Name: "v2"}},
		Detect:   policy.Detect{NonFinite: &policy.NonFinite{Mode: policy.Enforce}, CEL: []policy.Expression{{Mode: policy.Observe}}},
		Ladder: []policy.Rung{
			{Cache: &policy.Cache{}},
			{Fallback: &policy.Fallback{Model: "default/fraud-small", Version: "v1"}},
			{Rules: &policy.Rules{}},
			{SafeDefault: &policy.SafeDefault{}},
		},
	}
}

// value returns one series' value; -1 where there is none. A histogram's value
// is its count.
func value(t *testing.T, m *Metrics, name string, labels ...string) float64 {
	t.Helper()
	for _, f := range gather(t, m) {
		if f.GetName() != name {
			continue
		}
		for _, s := range f.GetMetric() {
			if slices.Equal(pairs(s), labels) {
				switch {
				case s.Counter != nil:
					return s.Counter.GetValue()
				case s.Gauge != nil:
					return s.Gauge.GetValue()
				default:
					return float64(s.Histogram.GetSampleCount())
				}
			}
		}
	}
	return -1
}

// pairs lists a series' labels as name=value, sorted by name as gathered.
func pairs(m *dto.Metric) []string {
	var out []string
	for _, l := range m.GetLabel() {
		out = append(out, l.GetName()+"="+l.GetValue())
	}
	return out
}

func gather(t *testing.T, m *Metrics) []*dto.MetricFamily {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	return families
}

func served(model, version, source string) []string {
	return []string{"model=" + model, "model_version=" + version, "route=" + fraudRoute, "source=" + source}
}

func TestServedCountsByWhatAnswered(t *testing.T) {
	m := NewMetrics("test", Caps{})
	r := m.Route(fraud())
	for range 3 {
		r.Served("default/fraud", "v2", SourcePrimary, time.Millisecond)
	}
	r.Served("default/fraud-small", "v1", SourceFallback, time.Millisecond)
	r.Served("", "", SourceSafeDefault, time.Millisecond)
	r.Served("", "", SourceRefused, time.Millisecond)
	r.Served("", "", "no such source", time.Millisecond)

	for _, c := range []struct {
		model, version, source string
		want                   float64
	}{
		{"default/fraud", "v2", SourcePrimary, 3},
		{"default/fraud", "v1", SourcePrimary, 0}, // open at 0 before its first answer
		{"default/fraud", "v1", SourceCache, 0},
		{"default/fraud-small", "v1", SourceFallback, 1},
		{"", "", SourceSafeDefault, 1},
		{"", "", SourceRules, 0},
		{"", "", SourceRefused, 1},
		{"", "", "no such source", -1},
	} {
		if got := value(t, m, "safestate_prediction_served_total", served(c.model, c.version, c.source)...); got != c.want {
			t.Errorf("%s/%s by %s: got %v, want %v", c.model, c.version, c.source, got, c.want)
		}
	}
	if got := value(t, m, "safestate_answer_seconds", "route="+fraudRoute, "source=primary"); got != 3 {
		t.Errorf("answer_seconds counts %v, want 3", got)
	}
}

func TestRoutesOfTheSameNameShareCounters(t *testing.T) {
	m := NewMetrics("test", Caps{})
	m.Route(fraud()).Served("default/fraud", "v1", SourcePrimary, 0)
	m.Route(fraud()).Served("default/fraud", "v1", SourcePrimary, 0)
	if got := value(t, m, "safestate_prediction_served_total", served("default/fraud", "v1", SourcePrimary)...); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
}

func TestDetectionModes(t *testing.T) {
	m := NewMetrics("test", Caps{})
	r := m.Route(fraud())
	r.Detection("default/fraud", "v1", verdict.NonFinite, true)
	r.Detection("default/fraud", "v1", verdict.CEL, false)
	r.Detection("default/fraud", "v1", "no such detector", true)
	found := func(detector, mode string) float64 {
		return value(t, m, "safestate_detections_total", "detector="+detector, "mode="+mode, "model=default/fraud", "model_version=v1", "route="+fraudRoute)
	}
	if e, o := found("nonfinite", "enforce"), found("nonfinite", "observe"); e != 1 || o != -1 {
		t.Errorf("nonfinite: enforce %v, observe %v; want 1 and none", e, o)
	}
	if e, o := found("cel", "enforce"), found("cel", "observe"); e != -1 || o != 1 {
		t.Errorf("cel: enforce %v, observe %v; want none and 1", e, o)
	}
}

func TestExpectedDetectionsStartAtZero(t *testing.T) {
	for _, c := range []struct {
		name             string
		mode             policy.Mode
		percent          float64
		enforce, observe float64
	}{
		{"enforced", policy.Enforce, 0, 0, -1},
		{"a share enforced", policy.Enforce, 10, 0, 0},
		{"observed", policy.Observe, 0, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fraud()
			p.Mode, p.EnforcePercent = c.mode, c.percent
			m := NewMetrics("test", Caps{})
			m.Route(p)
			for mode, want := range map[string]float64{"enforce": c.enforce, "observe": c.observe} {
				got := value(t, m, "safestate_detections_total", "detector=nonfinite", "mode="+mode, "model=default/fraud", "model_version=v1", "route="+fraudRoute)
				if got != want {
					t.Errorf("mode %s: got %v, want %v", mode, got, want)
				}
			}
		})
	}
}

func TestUninspected(t *testing.T) {
	m := NewMetrics("test", Caps{})
	r := m.Route(fraud())
	r.Uninspected(CauseMemory)
	m.Uninspected(fraudRoute, CauseMemory)
	m.Uninspected("", CausePolicyUnreadable)
	m.Uninspected("", Cause(99))
	r.Uninspected(Cause(-1))
	for _, c := range []struct {
		route, cause string
		want         float64
	}{
		{fraudRoute, "memory_budget", 2},
		{fraudRoute, "processor_error", 0},
		{"", "policy_unreadable", 1},
		{"", "memory_budget", 0},
	} {
		if got := value(t, m, "safestate_uninspected_total", "cause="+c.cause, "route="+c.route); got != c.want {
			t.Errorf("%q by %s: got %v, want %v", c.route, c.cause, got, c.want)
		}
	}
}

func TestCausesAreInOrderAndComplete(t *testing.T) {
	if len(Causes) != int(causeCount) {
		t.Fatalf("%d rows for %d causes", len(Causes), causeCount)
	}
	for i, c := range Causes {
		if int(c.Cause) != i || c.Label == "" || c.Sentence == "" {
			t.Errorf("row %d is %+v", i, c)
		}
	}
	for _, p := range []verdict.Pass{verdict.Foreign, verdict.NotInference, verdict.ResponseOverLimit, verdict.RequestOverLimit} {
		if c, ok := CauseOf(p); !ok || c.String() != string(p) {
			t.Errorf("%s becomes %s", p, c)
		}
	}
	if c, ok := CauseOf(verdict.Judged); ok {
		t.Errorf("a judged answer is %s", c)
	}
}

func TestLabelValuesAreBounded(t *testing.T) {
	m := NewMetrics("test", Caps{Routes: 3, Versions: 4})
	for i := range 50 {
		p := fraud()
		p.Route = fmt.Sprintf("default/r%d/x", i)
		m.Route(p)
	}
	r := m.Route(&policy.Policy{Route: "default/r0/x"})
	for range 2 {
		for i := range 50 {
			r.Served("default/fraud", fmt.Sprintf("v%d", i), SourcePrimary, 0)
		}
	}
	routes, versions := map[string]bool{}, map[string]bool{}
	for _, f := range gather(t, m) {
		if f.GetName() != "safestate_prediction_served_total" {
			continue
		}
		for _, s := range f.GetMetric() {
			routes[s.GetLabel()[2].GetValue()] = true
			if s.GetLabel()[2].GetValue() == "default/r0/x" {
				versions[s.GetLabel()[1].GetValue()] = true
			}
		}
	}
	if len(routes) != 4 || !routes["other"] {
		t.Errorf("routes %v, want 3 and other", routes)
	}
	// "" stands for rules and defaults and is not held to the cap.
	if len(versions) > 6 || !versions["other"] {
		t.Errorf("versions %v, want 4, other and empty", versions)
	}
	total := 0.0
	for _, f := range gather(t, m) {
		if f.GetName() == "safestate_answer_seconds" {
			for _, s := range f.GetMetric() {
				total += float64(s.Histogram.GetSampleCount())
			}
		}
	}
	if total != 100 {
		t.Errorf("%v answers counted, want 100: past a cap nothing is lost", total)
	}
}

func TestStrangeLabelValuesDoNotPanic(t *testing.T) {
	m := NewMetrics("test", Caps{})
	for _, name := range []string{"a\xffb", strings.Repeat("x", 10_000), "\x00", "other"} {
		p := fraud()
		p.Route = name
		r := m.Route(p)
		r.Served(name, name, SourceFallback, 0)
		r.Detection(name, name, verdict.Late, true)
		m.Uninspected(name, CauseMemory)
		m.Rung(name, Outcome(name), 0)
		m.BreakerChanged(name, breaker.Change{})
	}
	gather(t, m)
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := NewMetrics("test", Caps{})
	r := m.Route(fraud())
	r.Served("default/fraud", "v2", SourcePrimary, 0)
	for name, f := range map[string]func(){
		"Served":        func() { r.Served("default/fraud", "v2", SourcePrimary, time.Millisecond) },
		"Detection":     func() { r.Detection("default/fraud", "v2", verdict.NonFinite, true) },
		"Uninspected":   func() { r.Uninspected(CauseForeign) },
		"Message":       func() { m.Message(PhaseResponseBody) },
		"ProcessorTime": func() { m.ProcessorTime(time.Microsecond) },
		"Answer, off":   func() { (*Tracer)(nil).Answer(&Span{}) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestConcurrentCountsAddUp(t *testing.T) {
	m := NewMetrics("test", Caps{})
	r := m.Route(&policy.Policy{Route: fraudRoute})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				r.Served("default/fraud", fmt.Sprint("v", i%3), SourcePrimary, 0)
				m.Route(fraud()).Uninspected(CauseMemory)
			}
		})
	}
	wg.Wait()
	total := 0.0
	for i := range 3 {
		total += value(t, m, "safestate_prediction_served_total", served("default/fraud", fmt.Sprint("v", i), SourcePrimary)...)
	}
	if total != 4000 {
		t.Errorf("counted %v, want 4000", total)
	}
	if got := value(t, m, "safestate_uninspected_total", "cause=memory_budget", "route="+fraudRoute); got != 4000 {
		t.Errorf("uninspected %v, want 4000", got)
	}
}

func TestBreakerStates(t *testing.T) {
	now := time.Unix(1000, 0)
	m := NewMetrics("test", Caps{})
	set := breaker.NewSet(func() time.Time { return now }, m.BreakerChanged)
	m.Breakers(set)
	b := set.Get("version/default/fraud/v1", policy.Breaker{Failures: 2, Recovery: policy.Duration(30 * time.Second), HalfOpenRequests: 1})
	state := func() float64 {
		return value(t, m, "safestate_breaker_state", "kind=version", "name=default/fraud/v1")
	}
	if got := state(); got != float64(BreakerClosed) {
		t.Fatalf("new: %v", got)
	}
	for range 2 {
		p, ok := b.Allow()
		if !ok {
			t.Fatal("refused while closed")
		}
		p.Done(breaker.Failure, 0)
	}
	if got := state(); got != float64(BreakerOpen) {
		t.Errorf("after two failures: %v, want open", got)
	}
	if got := value(t, m, "safestate_breaker_transitions_total", "kind=version", "name=default/fraud/v1", "to=open"); got != 1 {
		t.Errorf("transitions to open: %v, want 1", got)
	}
	set.Forget("version/default/fraud/v1")
	if got := state(); got != -1 {
		t.Errorf("forgotten: %v, want no series", got)
	}
}

func TestStateOf(t *testing.T) {
	for _, c := range []struct {
		s     breaker.State
		m     breaker.Manual
		share float64
		want  BreakerState
	}{
		{breaker.Closed, breaker.Automatic, 1, BreakerClosed},
		{breaker.Closed, breaker.Automatic, 0.5, BreakerRamping},
		{breaker.HalfOpen, breaker.Automatic, 1, BreakerHalfOpen},
		{breaker.Open, breaker.Automatic, 0, BreakerOpen},
		{breaker.Open, breaker.ForcedOpen, 0, BreakerHeldOpen},
		{breaker.Closed, breaker.ForcedClosed, 1, BreakerHeldClosed},
		{breaker.Open, breaker.Observing, 1, BreakerObserving},
	} {
		if got := stateOf(c.s, c.m, c.share); got != c.want {
			t.Errorf("stateOf(%v, %v, %v) = %v, want %v", c.s, c.m, c.share, got, c.want)
		}
	}
}

// TestTableIsWhatIsExported uses every part once and holds what a scrape then
// gives against Table: names, types, labels and help.
func TestTableIsWhatIsExported(t *testing.T) {
	m := NewMetrics("test", Caps{})
	r := m.Route(fraud())
	r.Served("default/fraud", "v1", SourcePrimary, time.Millisecond)
	r.Tokens("default/chat", "v1", 3, 5, true)
	m.Rung(SourceRules, Answered, time.Millisecond)
	set := breaker.NewSet(nil, m.BreakerChanged)
	set.Get("rung/x", policy.Breaker{Failures: 1, Recovery: 1, HalfOpenRequests: 1})
	m.BreakerChanged("rung/x", breaker.Change{To: breaker.Open})
	m.Breakers(set)
	m.Bulkheads(func(emit func(string, int, uint64)) { emit("default/fraud", 1, 2) })
	m.CacheLookup(StoreRedis, Hit)
	m.CacheWrite(StoreMemory, OK)
	one := func() float64 { return 1 }
	m.CacheSize(one, one)
	m.BodiesInFlight(one)
	m.Proxies(one)
	m.Processors(one)
	m.Kills(func() (float64, float64, float64) { return 1, 2, 3 })
	m.KillProofs(func() (float64, float64) { return 1, 2 })
	m.PolicyKeys(func() (time.Duration, time.Duration) { return time.Hour, 0 })
	m.Audit(one)
	m.ConfigApplied(time.Now())
	m.Releases(func(emit func(ModelReleases)) {
		emit(ModelReleases{Model: "default/fraud", Generation: 2, Weights: map[string]int{"v1": 100}, Degraded: true, Stuck: []string{"bound"}, Unproven: 1})
	})
	m.ReleaseRecord("default/fraud", "rollback")
	m.Receivers([]string{"on-call"}, []string{"delivered", "refused"})
	m.Notified("on-call", "delivered")

	exported := map[string]*dto.MetricFamily{}
	for _, f := range gather(t, m) {
		if strings.HasPrefix(f.GetName(), "safestate_") {
			exported[f.GetName()] = f
		}
	}
	kinds := map[Kind]dto.MetricType{Counter: dto.MetricType_COUNTER, Gauge: dto.MetricType_GAUGE, Histogram: dto.MetricType_HISTOGRAM}
	for _, d := range Table {
		f, ok := exported[d.Name]
		if !ok {
			t.Errorf("%s is in the table and not exported", d.Name)
			continue
		}
		delete(exported, d.Name)
		var names []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			names = append(names, l.GetName())
		}
		if want := slices.Sorted(slices.Values(d.Labels)); !slices.Equal(names, want) {
			t.Errorf("%s has labels %v, the table %v", d.Name, names, want)
		}
		if f.GetType() != kinds[d.Kind] || f.GetHelp() != d.Help {
			t.Errorf("%s is a %v %q, the table has %s %q", d.Name, f.GetType(), f.GetHelp(), d.Kind, d.Help)
		}
	}
	for name := range exported {
		t.Errorf("%s is exported and not in the table", name)
	}
}

func TestConfigMetrics(t *testing.T) {
	m := NewMetrics("test", Caps{})
	m.ConfigRejected(0)
	if got := value(t, m, "safestate_config_errors"); got != 1 {
		t.Errorf("a rejected load shows %v mistakes, want at least 1", got)
	}
	m.ConfigRejected(7)
	m.ConfigApplied(time.Unix(1234, 0))
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"safestate_config_errors", nil, 0},
		{"safestate_config_last_success_timestamp_seconds", nil, 1234},
		{"safestate_config_reloads_total", []string{"outcome=ok"}, 1},
		{"safestate_config_reloads_total", []string{"outcome=error"}, 2},
	} {
		if got := value(t, m, c.name, c.labels...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, got, c.want)
		}
	}
}

func TestXDSByResource(t *testing.T) {
	m := NewMetrics("test", Caps{})
	m.XDSNack("type.googleapis.com/envoy.config.route.v3.RouteConfiguration")
	m.XDSAck("type.googleapis.com/whatever")
	if got := value(t, m, "safestate_xds_responses_total", "outcome=nack", "type=route"); got != 1 {
		t.Errorf("route nack: %v", got)
	}
	if got := value(t, m, "safestate_xds_responses_total", "outcome=ack", "type=other"); got != 1 {
		t.Errorf("other ack: %v", got)
	}
}

func TestHandlerServesText(t *testing.T) {
	m := NewMetrics("1.2.3", Caps{})
	m.Route(fraud())
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`safestate_build_info{go_version="go`,
		`safestate_prediction_served_total{model="default/fraud",model_version="v1",route="default/fraud/score",source="primary"} 0`,
		"go_goroutines",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in the scrape", want)
		}
	}
}

func TestDetectorSlots(t *testing.T) {
	if len(verdict.Detectors) > detectorSlots {
		t.Fatalf("%d detectors in %d slots", len(verdict.Detectors), detectorSlots)
	}
}

var _ prometheus.Collector = (*breakerCollector)(nil)

// The cost of counting one answer is held to 100 ns without an allocation.
func BenchmarkServed(b *testing.B) {
	r := NewMetrics("test", Caps{}).Route(fraud())
	b.ReportAllocs()
	for b.Loop() {
		r.Served("default/fraud", "v2", SourcePrimary, 7*time.Millisecond)
	}
}

func BenchmarkDetection(b *testing.B) {
	r := NewMetrics("test", Caps{}).Route(fraud())
	b.ReportAllocs()
	for b.Loop() {
		r.Detection("default/fraud", "v2", verdict.NonFinite, true)
	}
}
