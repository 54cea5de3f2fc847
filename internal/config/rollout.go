package config

import (
	"fmt"
	"net/url"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// compatible checks the names of versions to go back to.
func (c *checker) compatible(field string, v *v1alpha1.ModelVersion, versions map[string]bool) {
	seen := map[string]bool{}
	for i, name := range v.CompatibleWith {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case name == v.Name:
			c.fail(at, "is %s, the version itself; want another one to go back to", quote(name))
		case !versions[name]:
			c.fail(at, "is %s, and the model has no version of that name; %s", quote(name), names(versions))
		case seen[name]:
			c.fail(at, "is %s, which stands there already; want each once", quote(name))
		}
		seen[name] = true
	}
}

func (c *checker) rollout(field string, r *v1alpha1.Rollout) {
	if r == nil {
		return
	}
	c.steps(field+".steps", r.Steps)
	c.count(field+".holdbackPercent", r.HoldbackPercent, 0, 50)
	c.within(field+".coolDown", r.CoolDown, 0, 24*time.Hour)
	c.count(field+".rollbacksPerHour", r.RollbacksPerHour, 1, 60)
	if l := r.Limits; l != nil {
		c.percent(field+".limits.maxBadPercent", l.MaxBadPercent, false)
		c.within(field+".limits.maxP99", l.MaxP99, time.Millisecond, 15*time.Minute)
	}
	seen := map[string]bool{}
	for i := range r.Checks {
		c.rolloutCheck(fmt.Sprintf("%s.checks[%d]", field, i), &r.Checks[i], seen)
	}
}

// steps wants weights that grow up to 100, so that what a rollout ends with is
// written in it.
func (c *checker) steps(field string, steps []v1alpha1.RolloutStep) {
	before := int32(-1)
	for i := range steps {
		s, at := &steps[i], fmt.Sprintf("%s[%d]", field, i)
		c.within(at+".duration", s.Duration, 0, 720*time.Hour)
		c.count(at+".minRequests", s.MinRequests, 0, 1_000_000_000)
		switch {
		case s.Weight == nil:
			c.fail(at+".weight", "is missing; want the new version's share in percent, 0 to 100")
			return
		case *s.Weight < 0 || *s.Weight > 100:
			c.count(at+".weight", s.Weight, 0, 100)
			return
		case *s.Weight <= before:
			c.fail(at+".weight", "is %d after %d; want more with every step", *s.Weight, before)
			return
		case *s.Weight == 0 && s.MinRequests != nil && *s.MinRequests > 0:
			c.fail(at+".minRequests", "is %d at weight 0, which gives the version no request; want 0, or a weight", *s.MinRequests)
		}
		before = *s.Weight
	}
	if len(steps) > 0 && before != 100 {
		c.fail(fmt.Sprintf("%s[%d].weight", field, len(steps)-1), "is %d in the last step; want 100 there", before)
	}
}

func (c *checker) rolloutCheck(field string, k *v1alpha1.RolloutCheck, seen map[string]bool) {
	switch {
	case k.Name == "":
		c.fail(field+".name", "is missing; want a name for the check, such as error-rate")
	case !reason(k.Name):
		c.fail(field+".name", "is %s; want letters, digits, -, _ and ., 63 at most", quote(k.Name))
	case seen[k.Name]:
		c.fail(field+".name", "is %s, which an earlier check has too; want one name each", quote(k.Name))
	}
	seen[k.Name] = true
	switch {
	case k.Min == nil && k.Max == nil:
		c.fail(field, "has neither min nor max; want one of them, or both")
	case k.Min != nil && k.Max != nil && *k.Min > *k.Max:
		c.fail(field+".min", "is %v, over max, %v; want at most that", *k.Min, *k.Max)
	}
	c.within(field+".interval", k.Interval, time.Second, time.Hour)
	if k.Prometheus == nil {
		c.fail(field+".prometheus", "is missing; want {url, query}")
		return
	}
	c.prometheus(field+".prometheus", k.Prometheus)
}

func (c *checker) prometheus(field string, p *v1alpha1.PrometheusQuery) {
	u, err := url.Parse(p.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		c.fail(field+".url", "is %s; want the http or https URL of a Prometheus", quote(p.URL))
	case u.User != nil:
		c.fail(field+".url", "carries credentials, which a configuration must not; want a URL without")
	}
	if p.Query == "" {
		c.fail(field+".query", "is missing; want PromQL that yields one number")
	}
}
