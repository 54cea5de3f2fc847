package filter

import (
	"math/rand/v2"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/budget"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/wasm/proxywasm"
)

// mostRoutes bounds the policies that a worker keeps, those that cannot be read
// included. Past it all are forgotten and read anew as they are asked for.
const mostRoutes = 1000

// route is a compiled policy with what a request on it needs. It does not change but
// for the state behind its breakers and its budget, which outlive the policy.
type route struct {
	digest   string
	brought  [][2]string // what makes the policy known to a safestate that has no files
	policy   *policy.Policy
	detector *detect.Detector
	rungs    []rung
	last     *local.Default
	refusal  local.Answer
	budget   *budget.Budget // nil: none

	versions     map[string]*version // by Envoy cluster name
	unknown      *version
	dependencies []breaker.Dependency
	// keeps: the request's body is kept, for checks, rungs or to ask elsewhere.
	// holds: the model is not asked before all of it is here and checked.
	keeps, holds bool

	// unreadable is why the policy is none; the other fields are then empty, but for
	// open, which says what is done about it.
	unreadable error
	open       bool

	uninspected map[string]*counter
	rejected    *counter
}

// rung is one step of the ladder: a table, or a call elsewhere for what takes a
// network.
type rung struct{ table *local.Table }

// version is one version of the route's model.
type version struct {
	policy.Version
	breaker *breaker.Breaker // nil: none
	tags    []local.Header
	served  *counter
	row     *row
}

// route returns the policy of the request at hand; nil: it has none.
func (p *plugin) route() *route {
	digest, err := proxywasm.GetProperty(propertyDigest)
	if err != nil || len(digest) == 0 {
		return nil
	}
	if p.last != nil && p.last.digest == string(digest) {
		return p.last
	}
	r := p.routes[string(digest)]
	if r == nil {
		r = p.read(string(digest))
	}
	if r.policy != nil && p.inForce[r.policy.Route] != r {
		p.inForce[r.policy.Route] = r
		p.configure(r) // of another policy in between they would have kept the settings
	}
	p.last = r
	return r
}

// configure gives the breakers and the budget of a route the settings of its policy.
func (p *plugin) configure(r *route) {
	if cfg := r.policy.Budget; cfg != nil {
		r.budget = p.budgets.Get(r.policy.Route, *cfg)
	}
	if cfg := r.policy.Breaker; cfg != nil {
		for _, v := range r.versions {
			v.breaker = p.breakers.Get(breaker.VersionKey(v.Model, v.Name), *cfg)
		}
	}
	r.dependencies = r.dependencies[:0]
	for _, d := range r.policy.Detect.Dependencies {
		if d.Mode != policy.Observe { // a breaker that is only watched keeps nobody from the model
			r.dependencies = append(r.dependencies, breaker.Dependency{Name: d.Name, Breaker: p.breakers.Get(breaker.DependencyKey(r.policy.Model, d.Name), d.Breaker)})
		}
	}
}

// read reads the policy of the request at hand, once for each content. That the
// digest is the text's is taken from whoever wrote both: the listener's own Envoy.
func (p *plugin) read(digest string) *route {
	text, err := proxywasm.GetProperty(propertyPolicy)
	var r *route
	if err == nil {
		r, err = p.compile(digest, string(text))
	}
	if err == nil && r.escalates() {
		r.brought = introduction(text)
	}
	if err != nil {
		proxywasm.LogError("safestate: the policy " + digest + " cannot be used: " + err.Error())
		r = &route{digest: digest, unreadable: err, open: policy.PassesUnread(string(text))}
	}
	if len(p.routes) >= mostRoutes {
		clear(p.routes)
		clear(p.inForce)
		p.reports.forget(p.now())
	}
	p.routes[digest] = r
	return r
}

// introduction is the policy of the request at hand with what it is signed by, as
// headers.
func introduction(text []byte) [][2]string {
	out := [][2]string{{policy.HeaderPolicyText, escaped(text)}}
	if signature, err := proxywasm.GetProperty(propertySignature); err == nil && len(signature) > 0 {
		out = append(out, [2]string{policy.HeaderPolicySignature, string(signature)})
	}
	if name, err := proxywasm.GetProperty(propertyRoute); err == nil && len(name) > 0 {
		out = append(out, [2]string{policy.HeaderPolicyRoute, string(name)})
	}
	return out
}

// escaped is a text as a header can carry it: what is not printable ASCII, and the
// percent sign, as %XX (RFC 3986).
func escaped(text []byte) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(text)+len(text)/8)
	for _, c := range text {
		if c < 0x20 || c > 0x7e || c == '%' {
			out = append(out, '%', hex[c>>4], hex[c&15])
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

func (p *plugin) compile(digest, text string) (*route, error) {
	cfg, err := policy.Parse(text)
	if err != nil {
		return nil, err
	}
	d, err := detect.Compile(cfg)
	if err != nil {
		return nil, err
	}
	r := &route{
		digest: digest, policy: cfg, detector: d, refusal: local.Refusal(cfg),
		versions: make(map[string]*version, len(cfg.Versions)), uninspected: map[string]*counter{},
		holds: cfg.Host != policy.HostBoth && len(cfg.Detect.Request) > 0, // else the processor has checked it
	}
	if err := r.addRungs(p.settings.Answers != ""); err != nil {
		return nil, err
	}
	r.keeps = cfg.Needs.RequestBody || r.escalates()
	p.addVersions(r)
	return r, nil
}

func (r *route) addRungs(elsewhere bool) error {
	for i := range r.policy.Ladder {
		switch cfg := &r.policy.Ladder[i]; {
		case cfg.Cache != nil, cfg.Fallback != nil:
			if elsewhere && !r.escalates() { // asked once, it runs all that follows
				r.rungs = append(r.rungs, rung{})
			}
		case cfg.Rules != nil:
			table, err := local.NewTable(cfg.Rules, r.detector)
			if err != nil {
				return err
			}
			r.rungs = append(r.rungs, rung{table})
		case cfg.SafeDefault != nil:
			last, err := local.NewDefault(cfg.SafeDefault, r.detector)
			if err != nil {
				return err
			}
			r.last = last
		}
	}
	return nil
}

// escalates reports whether a rung is asked elsewhere.
func (r *route) escalates() bool {
	for _, g := range r.rungs {
		if g.table == nil {
			return true
		}
	}
	return false
}

func (p *plugin) addVersions(r *route) {
	for cluster, v := range r.policy.Versions {
		if v.Model == "" {
			v.Model = r.policy.Model
		}
		r.versions[cluster] = p.newVersion(r, v)
	}
	r.unknown = p.newVersion(r, policy.Version{Model: r.policy.Model})
}

func (p *plugin) newVersion(r *route, v policy.Version) *version {
	return &version{
		Version: v, tags: local.VersionTags(v), row: p.reports.row(r.policy.Route, v.Model, v.Name),
		served: p.metrics.counter(metricServed, label{"route", r.policy.Route}, label{"model", v.Model}, label{"model_version", v.Name}, label{"source", string(local.Primary)}),
	}
}

func (r *route) version(cluster string) *version {
	if v, ok := r.versions[cluster]; ok {
		return v
	}
	return r.unknown
}

// enforces draws whether this request is enforced.
func (r *route) enforces() bool {
	return r.policy.Draw(rand.Float64) //nolint:gosec // a share of requests, no secret
}
