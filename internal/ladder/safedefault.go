package ladder

import (
	"context"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/refresh"
	"github.com/safestate/safestate/internal/rules"
)

// safeDefaultRung always answers: with the refreshed body, or the filled
// template, or the static body, whichever the policy has and is good now.
type safeDefaultRung struct {
	static   Answer
	template *rules.Template  // nil: none
	refresh  *refresh.Body    // nil: none
	detector *detect.Detector // reads the request for the template
}

func newSafeDefaultRung(cfg *policy.SafeDefault, d *detect.Detector, sources *refresh.Registry) (*safeDefaultRung, func(), error) {
	r := &safeDefaultRung{detector: d, static: Answer{
		Source:      SafeDefault,
		Status:      orOK(cfg.Status),
		ContentType: cfg.ContentType,
		Body:        []byte(cfg.Body),
	}}
	if r.static.ContentType == "" {
		r.static.ContentType = contentTypeJSON
	}
	if cfg.Template != "" {
		t, err := rules.CompileTemplate(cfg.Template)
		if err != nil {
			return nil, nil, err
		}
		r.template = t
	}
	if cfg.Refresh == nil {
		return r, func() {}, nil
	}
	body, release, err := sources.Acquire(*cfg.Refresh, d.ValidDefault)
	if err != nil {
		return nil, nil, err
	}
	r.refresh = body
	return r, release, nil
}

func (r *safeDefaultRung) source() Source  { return SafeDefault }
func (r *safeDefaultRung) networked() bool { return false }

func (r *safeDefaultRung) answer(_ context.Context, ask *Ask) (Answer, Outcome) {
	a := r.static
	a.Body = echoed(r.detector, ask.Exchange, r.body(ask.Exchange))
	return a, Answered
}

func (r *safeDefaultRung) body(x *detect.Exchange) []byte {
	if r.refresh != nil {
		if body, ok := r.refresh.Get(); ok {
			return body
		}
	}
	if r.template != nil {
		if body, err := r.template.Fill(nil, &rules.Values{Request: r.detector.Env(x).Request}); err == nil {
			return body
		}
	}
	return r.static.Body
}
