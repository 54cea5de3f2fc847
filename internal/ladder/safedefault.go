package ladder

import (
	"context"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/refresh"
)

// safeDefaultRung always answers: with the refreshed body, or the filled
// template, or the static body, whichever the policy has and is good now.
type safeDefaultRung struct {
	local   *local.Default
	refresh *refresh.Body // nil: none
}

func newSafeDefaultRung(cfg *policy.SafeDefault, d *detect.Detector, sources *refresh.Registry) (*safeDefaultRung, func(), error) {
	own, err := local.NewDefault(cfg, d)
	if err != nil {
		return nil, nil, err
	}
	r := &safeDefaultRung{local: own}
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
	if r.refresh != nil {
		if body, ok := r.refresh.Get(); ok {
			return ofLocal(r.local.With(ask.Exchange, body)), Answered
		}
	}
	return ofLocal(r.local.Answer(ask.Exchange)), Answered
}
