package ladder

import (
	"context"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
)

// rulesRung answers from the policy's decision table over the request.
type rulesRung struct{ table *local.Table }

func newRulesRung(cfg *policy.Rules, d *detect.Detector) (*rulesRung, error) {
	table, err := local.NewTable(cfg, d)
	if err != nil {
		return nil, err
	}
	return &rulesRung{table}, nil
}

func (r *rulesRung) source() Source  { return Rules }
func (r *rulesRung) networked() bool { return false }

func (r *rulesRung) answer(_ context.Context, ask *Ask) (Answer, Outcome) {
	a, ok := r.table.Answer(ask.Exchange)
	if !ok {
		return Answer{}, Failed
	}
	return ofLocal(a), Answered
}
