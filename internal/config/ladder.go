package config

import (
	"fmt"
	"math"
	"mime"
	"net/url"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

func (c *checker) ladder(s *subject) {
	rungs := s.Value.Spec.Ladder
	if len(rungs) == 0 {
		c.fail("spec.ladder", "is missing; want at least a safeDefault")
		return
	}
	seen := map[string]int{}
	for i := range rungs {
		field := fmt.Sprintf("spec.ladder[%d]", i)
		kinds := rungKinds(&rungs[i])
		if len(kinds) != 1 {
			c.fail(field, "has %d rungs; want exactly one of cache, fallback, rules and safeDefault in each item", len(kinds))
		}
		for _, kind := range kinds {
			if first, twice := seen[kind]; twice {
				c.fail(field+"."+kind, "is there twice, first as ladder[%d]; want each kind of rung once", first)
			}
			seen[kind] = i
		}
		c.rung(s, field, &rungs[i])
	}
	last, ok := seen["safeDefault"]
	switch {
	case !ok:
		c.fail("spec.ladder", "has no safeDefault; want one as its last rung")
	case last != len(rungs)-1:
		c.fail(fmt.Sprintf("spec.ladder[%d].safeDefault", last), "always answers, so that the rungs below it are never reached; want it last")
	}
	rules, hasRules := seen["rules"]
	for _, kind := range []string{"cache", "fallback"} {
		if at, has := seen[kind]; hasRules && has && rules < at {
			c.warn(fmt.Sprintf("spec.ladder[%d].%s", at, kind), "stands below rules, which nearly always answer; want it above them")
		}
	}
}

func rungKinds(r *v1alpha1.Rung) []string {
	var kinds []string
	if r.Cache != nil {
		kinds = append(kinds, "cache")
	}
	if r.Fallback != nil {
		kinds = append(kinds, "fallback")
	}
	if r.Rules != nil {
		kinds = append(kinds, "rules")
	}
	if r.SafeDefault != nil {
		kinds = append(kinds, "safeDefault")
	}
	return kinds
}

func (c *checker) rung(s *subject, field string, r *v1alpha1.Rung) {
	if r.Cache != nil {
		c.cache(field+".cache", r.Cache)
	}
	if r.Fallback != nil {
		c.fallback(s, field+".fallback", r.Fallback)
	}
	if r.Rules != nil {
		c.rules(s, field+".rules", r.Rules)
	}
	if r.SafeDefault != nil {
		c.safeDefault(s, field+".safeDefault", r.SafeDefault)
	}
}

func (c *checker) cache(field string, k *v1alpha1.Cache) {
	const week = 7 * 24 * time.Hour
	if k.TTL == nil {
		c.fail(field+".ttl", "is missing; want how long an answer may be given again, such as 5m")
	}
	c.within(field+".ttl", k.TTL, time.Millisecond, week)
	c.within(field+".staleWhileRevalidate", k.StaleWhileRevalidate, 0, week)
	if k.When == v1alpha1.First && len(k.TenantHeaders) > 0 && duration(k.StaleWhileRevalidate) > 0 {
		c.warn(field+".staleWhileRevalidate", "is set beside when: First and tenantHeaders, and for a tenant the model is never asked anew in the background: past its ttl an entry answers only once the model failed; want a longer ttl for more")
	}
	seen := map[string]bool{}
	for i, h := range k.TenantHeaders {
		at := fmt.Sprintf("%s.tenantHeaders[%d]", field, i)
		lower := strings.ToLower(h)
		switch {
		case !token(h):
			c.fail(at, "is %s; want a header's name", quote(h))
		case strings.HasPrefix(lower, "x-safestate-"):
			c.fail(at, "is %s, which is stripped from requests; want a header that tells tenants apart", quote(h))
		case seen[lower]:
			c.fail(at, "is %s, which stands there already; want each once", quote(h))
		}
		seen[lower] = true
	}
}

func (c *checker) fallback(s *subject, field string, f *v1alpha1.Fallback) {
	if f.Deadline == nil {
		c.fail(field+".deadline", "is missing; want the time that its answer may take, such as 30ms")
	} else {
		c.fallbackDeadline(s, field+".deadline", f.Deadline.Duration)
	}
	if f.Path != "" {
		c.path(field+".path", f.Path)
		if s.grpc && !s.http {
			c.fail(field+".path", "is set, and over gRPC the call's own method is asked for; remove it")
		}
	}
	if f.MaxBytes != nil && (*f.MaxBytes < 1024 || *f.MaxBytes > 64<<20) {
		c.fail(field+".maxBytes", "is %d; want 1024 to %d", *f.MaxBytes, 64<<20)
	}
	c.count(field+".maxConcurrent", f.MaxConcurrent, 1, 1_000_000)
	c.breaker(field+".breaker", f.Breaker)
	if f.Probe != nil {
		if s.grpc && !s.http {
			c.fail(field+".probe", "is a GET, and the fallback is asked over gRPC; remove it")
		}
		if f.Probe.Path == "" {
			c.fail(field+".probe.path", "is missing; want a path such as /v2/health/ready")
		} else {
			c.path(field+".probe.path", f.Probe.Path)
		}
		c.within(field+".probe.interval", f.Probe.Interval, 100*time.Millisecond, time.Hour)
	}
	if f.Model == "" {
		c.fail(field+".model", "is missing; want the name of a Model")
		return
	}
	model := c.world.Model(s.Namespace, f.Model)
	if model == nil {
		c.dangling(field+".model", "is %s, and no Model in namespace %s has that name; %s", quote(f.Model), s.Namespace, c.modelNames(s.Namespace))
		return
	}
	c.fallbackVersion(field, f, model)
	for _, primary := range s.models {
		c.fallbackOf(field+".model", model, primary)
	}
}

func (c *checker) fallbackDeadline(s *subject, field string, d time.Duration) {
	spec := &s.Value.Spec
	switch {
	case d < time.Millisecond:
		c.fail(field, "is %s; want at least 1ms", d)
	case s.deadline == 0:
	case d >= s.deadline:
		c.fail(field, "is %s, and the policy's whole deadline is %s; want less than that", d, s.deadline)
	case spec.Reserve != nil && spec.Reserve.Duration < d:
		c.warn("spec.reserve", "is %s, under the fallback's deadline of %s: after a late model the fallback gets no more than that", spec.Reserve.Duration, d)
	case spec.Reserve == nil && Reserve(spec) >= s.deadline:
		c.fail(field, "is %s and leaves the model nothing of the policy's %s; want at most %s", d, s.deadline, s.deadline-6*time.Millisecond)
	}
}

func (c *checker) fallbackVersion(field string, f *v1alpha1.Fallback, model *Object[v1alpha1.Model]) {
	set := map[string]bool{}
	for i := range model.Value.Spec.Versions {
		set[model.Value.Spec.Versions[i].Name] = true
	}
	switch {
	case f.Version == "" && len(set) > 1:
		c.fail(field+".version", "is missing, and Model %s has %d versions; %s", model.Key(), len(set), names(set))
	case f.Version != "" && !set[f.Version]:
		c.fail(field+".version", "is %s, which Model %s does not have; %s", quote(f.Version), model.Key(), names(set))
	}
}

// fallbackOf checks that a fallback does not fail together with its primary.
func (c *checker) fallbackOf(field string, fallback, primary *Object[v1alpha1.Model]) {
	own, other := primary.Value.Spec.FailureDomain, fallback.Value.Spec.FailureDomain
	switch {
	case fallback == primary:
		c.fail(field, "is %s, the very model that failed; want another", fallback.Key())
	case own == "" || other == "":
		c.fail(field, "is %s, and a failureDomain is missing in it or in %s; want one in both, to tell that they do not fail together", fallback.Key(), primary.Key())
	case own == other:
		c.fail(field, "is %s, in failure domain %s like its primary %s; want a model in another", fallback.Key(), quote(own), primary.Key())
	}
	if p, q := primary.Value.Spec.Protocol, fallback.Value.Spec.Protocol; fallback != primary && p != "" && q != "" && p != q {
		c.fail(field, "is %s, which speaks %s, and its primary %s speaks %s; want the same protocol", fallback.Key(), q, primary.Key(), p)
	}
}

func (c *checker) modelNames(namespace string) string {
	set := map[string]bool{}
	for _, m := range c.world.Models {
		if m.Namespace == namespace {
			set[m.Name] = true
		}
	}
	return names(set)
}

var namesConfidence = regexp.MustCompile(`\{\{\s*confidence\s*\}\}`)

// mostScore is what package rules can count exactly.
const mostScore = 1_000_000

func (c *checker) rules(s *subject, field string, r *v1alpha1.Rules) {
	if len(r.Score) == 0 {
		c.fail(field+".score", "is missing; want at least one {when, add, reason}")
	}
	for i := range r.Score {
		at := fmt.Sprintf("%s.score[%d]", field, i)
		row := &r.Score[i]
		c.expression(at+".when", row.When)
		if row.Add == nil {
			c.fail(at+".add", "is missing; want what is added to the score")
		} else if !(math.Abs(*row.Add) <= mostScore) {
			c.fail(at+".add", "is %v; want a number within %g", *row.Add, float64(mostScore))
		}
		if row.Reason == "" {
			c.fail(at+".reason", "is missing; want a word for it, such as high_amount")
		} else if !reason(row.Reason) {
			c.fail(at+".reason", "is %s; want letters, digits, -, _ and ., 63 at most", quote(row.Reason))
		}
	}
	if r.Confidence != nil && !(*r.Confidence >= 0 && *r.Confidence <= 1) {
		c.fail(field+".confidence", "is %v; want 0 to 1", *r.Confidence)
	}
	if r.Confidence == nil && namesConfidence.MatchString(r.Template) {
		c.fail(field+".confidence", "is missing, and the template names it; want a constant, 0 to 1")
	}
	if r.MaxScore != nil && !(*r.MaxScore > 0 && *r.MaxScore <= mostScore) {
		c.fail(field+".maxScore", "is %v; want over 0 and at most %g", *r.MaxScore, float64(mostScore))
	}
	c.status(s, field+".status", r.Status)
	if r.Template == "" {
		c.fail(field+".template", "is missing; want the answer, in the protocol's shape")
		return
	}
	c.answer(s, field+".template", r.Template, true)
}

// status checks that of an answer of our own. A chat and a gRPC answer are
// answers only as an OK.
func (c *checker) status(s *subject, field string, status *int32) {
	c.count(field, status, 200, 599)
	switch {
	case status == nil || *status == 200 || *status > 599 || *status < 200:
	case s.protocol == v1alpha1.OpenAI:
		c.fail(field, "is %d, and a completion is one with status 200 only; remove it", *status)
	case s.grpc:
		c.fail(field, "is %d, and a message is an answer with status OK only; remove it", *status)
	}
}

func (c *checker) safeDefault(s *subject, field string, d *v1alpha1.SafeDefault) {
	c.status(s, field+".status", d.Status)
	if d.ContentType != "" {
		media, _, err := mime.ParseMediaType(d.ContentType)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") || !headerValue(d.ContentType) {
			c.fail(field+".contentType", "is %s; want application/json or a type that ends in +json", quote(d.ContentType))
		}
	}
	allowing := ""
	switch {
	case d.Body != "":
		allowing = c.answer(s, field+".body", d.Body, false)
	case d.Template != "" || d.Refresh != nil:
		c.fail(field+".body", "is missing; want a static twin, which answers when the %s cannot, and which the proxy answers by itself", dynamicKind(d))
	default:
		c.fail(field+".body", "is missing; want the answer, in the protocol's shape")
	}
	if d.Template != "" {
		if found := c.answer(s, field+".template", d.Template, true); found != "" {
			allowing = found
		}
	}
	if d.Template != "" && d.Refresh != nil {
		c.fail(field+".refresh", "is set beside template; want one of them")
	}
	c.refresh(field+".refresh", s.Namespace, d.Refresh)
	ack := d.AcknowledgeRisk
	switch {
	case ack == nil && allowing != "":
		c.fail(field+".acknowledgeRisk", "is missing, and the answer lets something through: %s; want {by: a role, ticket: where it was decided}", allowing)
	case ack != nil && ack.By == "":
		c.fail(field+".acknowledgeRisk.by", "is missing; want the role that answers for the risk")
	case ack != nil && ack.Ticket == "":
		c.fail(field+".acknowledgeRisk.ticket", "is missing; want where it was decided")
	}
}

func dynamicKind(d *v1alpha1.SafeDefault) string {
	if d.Refresh != nil {
		return "refresh"
	}
	return "template"
}

func (c *checker) refresh(field, namespace string, r *v1alpha1.Refresh) {
	if r == nil {
		return
	}
	if (r.File == "") == (r.URL == "") {
		c.fail(field, "has %s of file and url; want exactly one", map[bool]string{true: "none", false: "both"}[r.File == ""])
	}
	if r.File != "" {
		c.refreshFile(field+".file", namespace, r.File)
	}
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			c.fail(field+".url", "is %s; want an http or https URL", quote(r.URL))
		case u.User != nil:
			c.fail(field+".url", "carries credentials, and every proxy's dump would show them; want a URL without")
		}
	}
	c.within(field+".interval", r.Interval, time.Second, 24*time.Hour)
}

// Interval returns an optional duration or its default.
func Interval(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}
