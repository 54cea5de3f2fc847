package ladder

import (
	"context"
	"net/http"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/rules"
)

// rulesRung answers from the policy's decision table over the request. An
// expression that cannot be evaluated on this request fails the rung: a score
// that some conditions did not see is a guess.
type rulesRung struct {
	table    *rules.Table
	detector *detect.Detector
	status   int
}

func newRulesRung(cfg *policy.Rules, d *detect.Detector) (*rulesRung, error) {
	table, err := rules.Compile(cfg)
	if err != nil {
		return nil, err
	}
	return &rulesRung{table: table, detector: d, status: orOK(cfg.Status)}, nil
}

func (r *rulesRung) source() Source  { return Rules }
func (r *rulesRung) networked() bool { return false }

func (r *rulesRung) answer(_ context.Context, ask *Ask) (Answer, Outcome) {
	body, err := r.table.Answer(nil, r.detector.Env(ask.Exchange))
	if err != nil {
		return Answer{}, Failed
	}
	return Answer{Source: Rules, Status: r.status, ContentType: contentTypeJSON, Body: echoed(r.detector, ask.Exchange, body)}, Answered
}

// echoed returns a body with the request's id in it, where the protocol echoes
// ids and the request was read and has one: a caller that matches answers to
// requests by it would drop the answer otherwise. Else, and where the body
// cannot carry one, it is the body as it is.
func echoed(d *detect.Detector, x *detect.Exchange, body []byte) []byte {
	if d.RequestID(x) == nil {
		return body
	}
	return d.EchoID(x, body)
}

const contentTypeJSON = "application/json"

func orOK(status int) int {
	if status == 0 {
		return http.StatusOK
	}
	return status
}
