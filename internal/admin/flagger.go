package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/safestate/safestate/internal/access"
)

// Flagger's webhooks. It asks by a POST of its own and looks at nothing but the
// status: up to 202 is a yes, anything else is a no, an answer that does not come
// among it (CallWebhook of fluxcd/flagger, pkg/controller/webhook.go). Yes is 200
// here, and no is 409 with the reason.
//
// Every error is a no. So nothing happens because safestate is away, is asked for a
// version that it does not have, or may not tell: no canary is rolled back for it, and
// none is promoted. What decides then is what else the analysis looks at.
//
// Its webhooks send no headers, so who asks is known by the connection, or is
// anonymous. What they send is not read: which version is meant stands in the path, so
// that no later field of Flagger's turns a yes into a no.
var flaggerRoutes = []route{
	{method: "POST", path: "/v1/models/{namespace}/{name}/versions/{version}/flagger/rollback", action: access.Read, target: ofModel, rate: readRate, hook: true, answer: VersionJudgement{}, serve: flaggerRollback},
	{method: "POST", path: "/v1/models/{namespace}/{name}/versions/{version}/flagger/confirm-promotion", action: access.Read, target: ofModel, rate: readRate, hook: true, answer: VersionJudgement{}, serve: flaggerPromotion},
}

// flaggerRollback says yes to a rollback of a version that is bad.
func flaggerRollback(ctx context.Context, c *call) (any, error) { return c.answerIf(ctx, Bad) }

// flaggerPromotion says yes to the promotion of a version that is good.
func flaggerPromotion(ctx context.Context, c *call) (any, error) { return c.answerIf(ctx, Good) }

// answerIf answers the judgement where it is the one that is asked about, else
// refuses with it.
func (c *call) answerIf(ctx context.Context, want Judgement) (any, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(c.body, &object); err != nil || object == nil {
		return nil, (&Problem{Status: http.StatusBadRequest, Message: "the body is no JSON object"}).Hinted("Flagger sends one; /v1/models/{namespace}/{name}/versions/{version} tells others")
	}
	j, err := c.judge(ctx)
	if err != nil || j.Judgement == want {
		return j, err
	}
	return nil, Conflict(j.Generation, "version %s of %s is not known to be %s", j.Version, j.Model, want).
		Hinted("it is %s: %s", j.Judgement, j.Reason)
}
