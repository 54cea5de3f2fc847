package control

import (
	"context"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/checks"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
)

// meter measures the checks of the rollouts that run. It is safe for concurrent
// use.
type meter struct {
	prom    *checks.Prometheus
	changed func()

	mu      sync.Mutex
	wanted  map[question]wish
	results map[question]release.CheckResult
	asked   map[question]time.Time
	running map[question]bool // asked, and not answered yet
}

// wish is a check that is to be measured, until nobody has wanted it for a while:
// a model may leave the files, and the leadership this replica.
type wish struct {
	check *compile.Check
	last  time.Time
}

const wishFor = 30 * time.Second

// question is one check about one version.
type question struct{ model, version, check string }

func newMeter(p *checks.Prometheus, changed func()) *meter {
	return &meter{
		prom: p, changed: changed, wanted: map[question]wish{},
		results: map[question]release.CheckResult{}, asked: map[question]time.Time{}, running: map[question]bool{},
	}
}

// want has a model's checks measured about a version; with an empty one about none.
// Whoever leads calls it with every round.
func (m *meter) want(model *compile.Model, version string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for q := range m.wanted {
		if q.model == model.Name {
			delete(m.wanted, q)
		}
	}
	for i := range model.Rollout.Checks {
		if check := &model.Rollout.Checks[i]; version != "" {
			m.wanted[question{model.Name, version, check.Name}] = wish{check, now}
		}
	}
}

// latest returns the latest results of a model's checks about a version.
func (m *meter) latest(model *compile.Model, version string) map[string]release.CheckResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]release.CheckResult{}
	for i := range model.Rollout.Checks {
		name := model.Rollout.Checks[i].Name
		if r, ok := m.results[question{model.Name, version, name}]; ok {
			out[name] = r
		}
	}
	return out
}

// looks is how often the meter sees what is due.
const looks = 250 * time.Millisecond

// run measures what is due until ctx ends.
func (m *meter) run(ctx context.Context) {
	tick := time.NewTicker(looks)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for q, check := range m.due(now) {
				asking.Go(func() { m.measure(ctx, q, check) })
			}
		}
	}
}

// due returns the questions whose interval is over, and takes them as asked. One
// that was not answered yet is not asked again: the older answer might come last.
// One that nobody wants any more is forgotten with its answer.
func (m *meter) due(now time.Time) map[question]*compile.Check {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[question]*compile.Check{}
	for q, w := range m.wanted {
		switch {
		case now.Sub(w.last) >= wishFor:
			delete(m.wanted, q)
		case !m.running[q] && now.Sub(m.asked[q]) >= w.check.Interval:
			m.asked[q], m.running[q] = now, true
			out[q] = w.check
		}
	}
	for q := range m.asked {
		if _, wanted := m.wanted[q]; !wanted {
			delete(m.asked, q)
			delete(m.results, q)
		}
	}
	return out
}

func (m *meter) measure(ctx context.Context, q question, check *compile.Check) {
	value, err := m.prom.Measure(ctx, check.URL, queryOf(check, q.model, q.version))
	result := release.Limit{Min: check.Min, Max: check.Max}.Judge(value, err, time.Now())
	m.mu.Lock()
	delete(m.running, q)
	if _, wanted := m.wanted[q]; wanted && ctx.Err() == nil {
		m.results[q] = result
	}
	m.mu.Unlock()
	m.changed()
}
