package compile

import (
	"fmt"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/rules"
)

func (c *compiler) ladder(p *config.Object[v1alpha1.FailSafePolicy], bodyBytes int64) []policy.Rung {
	var out []policy.Rung
	for i := range p.Value.Spec.Ladder {
		field := fmt.Sprintf("spec.ladder[%d]", i)
		r := &p.Value.Spec.Ladder[i]
		switch {
		case r.Cache != nil:
			out = append(out, policy.Rung{Cache: cache(r.Cache)})
		case r.Fallback != nil:
			out = append(out, policy.Rung{Fallback: c.fallback(p, r.Fallback, bodyBytes)})
		case r.Rules != nil:
			out = append(out, policy.Rung{Rules: c.rules(p.Source, field+".rules", r.Rules)})
		case r.SafeDefault != nil:
			out = append(out, policy.Rung{SafeDefault: c.safeDefault(p.Source, field+".safeDefault", r.SafeDefault)})
		}
	}
	return out
}

func cache(k *v1alpha1.Cache) *policy.Cache {
	out := &policy.Cache{
		TTL:                  policy.Duration(config.Interval(k.TTL, 0)),
		StaleWhileRevalidate: policy.Duration(config.Interval(k.StaleWhileRevalidate, 0)),
	}
	for _, h := range k.TenantHeaders {
		out.TenantHeaders = append(out.TenantHeaders, strings.ToLower(h))
	}
	if k.When == v1alpha1.First {
		out.When = policy.First
	}
	return out
}

func (c *compiler) fallback(p *config.Object[v1alpha1.FailSafePolicy], f *v1alpha1.Fallback, bodyBytes int64) *policy.Fallback {
	out := &policy.Fallback{
		Model:         p.Namespace + "/" + f.Model,
		Version:       f.Version,
		Path:          f.Path,
		Deadline:      policy.Duration(config.Interval(f.Deadline, 0)),
		MaxBytes:      or(f.MaxBytes, bodyBytes),
		MaxConcurrent: int(or(f.MaxConcurrent, defaultFallbackInFlight)),
		Breaker:       breaker(f.Breaker),
	}
	m, v := c.fallbackVersion(p.Namespace, f)
	if m == nil {
		return out // reported by validation
	}
	spec := &m.Value.Spec
	out.ServedName = servedName(m)
	out.Protocol = policy.Protocol(spec.Protocol)
	out.TLS = tlsOf(spec)
	if spec.Credentials != nil {
		out.Credentials = spec.Credentials.AuthorizationFile
	}
	if v != nil {
		out.Version, out.Endpoints = v.Name, endpoints(m.Namespace, v, false)
	}
	switch {
	case f.Probe != nil:
		out.Probe = &policy.Probe{Path: f.Probe.Path, Interval: policy.Duration(config.Interval(f.Probe.Interval, defaultProbeInterval))}
	case spec.HealthCheck != nil:
		out.Probe = &policy.Probe{Path: spec.HealthCheck.Path, Interval: policy.Duration(config.Interval(spec.HealthCheck.Interval, defaultCheckInterval))}
	}
	return out
}

// fallbackVersion returns a fallback's model and version; nil: there is none,
// which validation reports.
func (c *compiler) fallbackVersion(namespace string, f *v1alpha1.Fallback) (*config.Object[v1alpha1.Model], *v1alpha1.ModelVersion) {
	m := c.world.Model(namespace, f.Model)
	if m == nil {
		return nil, nil
	}
	for i := range m.Value.Spec.Versions {
		if v := &m.Value.Spec.Versions[i]; f.Version == "" || f.Version == v.Name {
			return m, v
		}
	}
	return m, nil
}

func (c *compiler) rules(source *config.Source, field string, r *v1alpha1.Rules) *policy.Rules {
	out := &policy.Rules{
		MaxScore:   or(r.MaxScore, defaultMaxScore),
		Confidence: or(r.Confidence, 0),
		Template:   r.Template,
		Status:     int(or(r.Status, defaultStatus)),
	}
	for i := range r.Score {
		row := &r.Score[i]
		out.Score = append(out.Score, policy.ScoreRule{
			When:   c.expression(source, fmt.Sprintf("%s.score[%d].when", field, i), row.When),
			Add:    or(row.Add, 0),
			Reason: row.Reason,
		})
	}
	c.template(source, field+".template", r.Template, true)
	return out
}

// template checks what stands between a template's braces. Score, confidence
// and reasons are a decision table's, and a safe default has none.
func (c *compiler) template(source *config.Source, field, text string, score bool) {
	if text == "" {
		return // none, or reported by validation
	}
	t, err := rules.CompileTemplate(text)
	switch {
	case err != nil:
		c.fail(source, field, "%s", strings.TrimPrefix(err.Error(), "template: "))
	case t.NeedsScore() && !score:
		c.fail(source, field, "names score, confidence or reasons, which only rules have; want {{id}} and {{request.PATH}}")
	}
}

func (c *compiler) safeDefault(source *config.Source, field string, d *v1alpha1.SafeDefault) *policy.SafeDefault {
	out := &policy.SafeDefault{
		Status:      int(or(d.Status, defaultStatus)),
		ContentType: defaultContentType,
		Body:        d.Body,
		Template:    d.Template,
	}
	if d.ContentType != "" {
		out.ContentType = d.ContentType
	}
	c.template(source, field+".template", d.Template, false)
	if d.Refresh != nil {
		out.Refresh = &policy.Refresh{
			File:     d.Refresh.File,
			URL:      d.Refresh.URL,
			Interval: policy.Duration(config.Interval(d.Refresh.Interval, defaultRefreshInterval)),
		}
	}
	return out
}
