package admin

import (
	"reflect"
	"slices"
	"strings"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// headers are those that only some answers have.
var headers = object{
	"Retry-After":      object{"description": "How many seconds to wait.", "schema": object{"type": "integer", "minimum": 1}},
	"WWW-Authenticate": object{"description": "Bearer.", "schema": object{"type": "string"}},
}

// responses are all that a route answers with: what is not here is a mistake.
func (d *document) responses(r route) object {
	ok := object{"description": "Done."}
	switch {
	case r.stream != nil:
		ok["content"] = object{r.media: object{}}
	case r.answer == nil:
		ok["content"] = object{"application/json": object{"schema": object{"type": "object"}}}
	default:
		ok["content"] = object{"application/json": object{"schema": d.schema(reflect.TypeOf(r.answer))}}
	}
	out := object{"200": ok}
	problem := func(status, text string) object {
		p := object{"description": text, "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}}}
		out[status] = p
		return p
	}
	problem("400", "The request asks for nothing that could be done; field says where.")
	problem("401", "It is not known who asks.")["headers"] = object{"WWW-Authenticate": object{"$ref": "#/components/headers/WWW-Authenticate"}}
	problem("403", "Whoever asks may not.")
	problem("404", "It is about a thing that is not there.")
	problem("409", "The present state does not allow it; generation is the current one.")
	problem("421", "The Host header is no name of this server.")
	problem("429", "Too many requests of this kind at once.")["headers"] = object{"Retry-After": object{"$ref": "#/components/headers/Retry-After"}}
	problem("500", "Something of safestate's own went wrong.")
	problem("503", "The store, or who vouches for a token, does not answer.")
	if r.hook {
		problem("409", "It is not known to be so; the hint says what is known.")
	}
	if r.body != nil || r.hook {
		problem("413", "The body is larger than 64 KiB.")
		problem("415", "The body is not application/json.")
	}
	if r.body != nil {
		problem("422", "The Idempotency-Key was used for another request.")
	}
	return out
}

// Patterns. They hold for what is in ASCII; of the rest what a terminal does not
// show is refused as well.
const (
	namePattern     = `^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	noNamePattern   = `^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`
	objectPattern   = `^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	linePattern     = `^[^\x00-\x1f\x7f-\xa0]*$`
	reasonPattern   = `^[^\x00-\x1f\x7f-\xa0]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\xa0]*$`
	durationPattern = `^(0|([0-9]+([.][0-9]*)?(ns|us|µs|ms|s|m|h))+)$`
	elementPattern  = `[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?`
	targetPattern   = `^(all|model/` + elementPattern + `/` + elementPattern + `|(version|route)/` + elementPattern + `/` + elementPattern + `/` + elementPattern + `)$`
)

// kindsPattern is one kind of the audit trail, or several with commas between.
func kindsPattern() string {
	var words []string
	for _, k := range audit.Kinds() {
		words = append(words, string(k))
	}
	one := "(" + strings.Join(words, "|") + ")"
	return "^" + one + "(," + one + ")*$"
}

// param is what the document says of a parameter.
type param struct {
	text   string
	schema object
}

// paramTexts are the parameters by name, or by path and name where routes mean
// different things by one name.
var paramTexts = map[string]param{
	"namespace": {"The object's namespace.", object{"type": "string", "pattern": namePattern, "maxLength": maxName, "examples": []any{"default"}}},
	"name":      {"The object's name.", object{"type": "string", "pattern": namePattern, "maxLength": maxName, "examples": []any{"fraud"}}},
	"version":   {"The version's name.", object{"type": "string", "pattern": namePattern, "maxLength": maxName, "examples": []any{"v1"}}},
	"node":      {"The proxy's node id.", object{"type": "string", "minLength": 1}},
	"model":     {"namespace/name. Default: of all.", object{"type": "string", "pattern": objectPattern}},
	"policy":    {"namespace/name. Default: of all. Does not go with model.", object{"type": "string", "pattern": objectPattern}},
	"limit":     {"Most records.", object{"type": "integer", "minimum": 1, "maximum": MaxLimit, "default": DefaultLimit}},
	"kind":      {"One kind, or several with commas between. Default: all.", object{"type": "string", "pattern": kindsPattern()}},
	"target":    {"What was acted on.", object{"type": "string", "minLength": 1, "maxLength": maxFilter}},
	"actor":     {"Who acted.", object{"type": "string", "minLength": 1, "maxLength": maxFilter}},
	"writer":    {"The replica that wrote it.", object{"type": "string", "minLength": 1, "maxLength": maxFilter}},
	"since":     {"Only what happened from then on.", object{"type": "string", "format": "date-time"}},

	"/v1/kills/proof target": {"As in a kill.", object{"type": "string", "pattern": targetPattern, "examples": []any{"model/default/fraud"}}},
}

// mustHave are the parameters of queries that have no default.
var mustHave = []string{"/v1/kills/proof target"}

func (d *document) params(r route) []any {
	var out []any
	add := func(in, name string) {
		unique := r.path + " " + name
		p, ok := paramTexts[unique]
		if !ok {
			p, ok = paramTexts[name]
		}
		if !ok {
			d.t.Errorf("no text of the parameter %s of %s", name, r.path)
		}
		required := in == "path" || slices.Contains(mustHave, unique)
		out = append(out, object{"in": in, "name": name, "required": required, "description": p.text, "schema": p.schema})
	}
	for _, name := range r.named() {
		add("path", name)
	}
	for _, name := range r.params {
		add("query", name)
	}
	header := func(name, text string, schema object) {
		out = append(out, object{"in": "header", "name": name, "required": false, "description": text, "schema": schema})
	}
	if r.body != nil {
		header(idempotencyHeader, "Makes the change once for all requests with this key, within 10 minutes.", object{"type": "string", "maxLength": maxKey, "pattern": `^[!-~]*$`})
	}
	header(access.UserHeader, "Who asks on this machine: a claim, recorded as such.", object{"type": "string", "pattern": "^$|" + access.UserPattern})
	return out
}

// verdicts: none yet is as good as inconclusive.
var verdicts = []any{"", release.Inconclusive, release.Success, release.Failure, release.Error, release.CommonCause}

var (
	reasoned = object{"minLength": 1, "maxLength": maxReason, "pattern": reasonPattern}
	targeted = object{"pattern": targetPattern, "examples": []any{"model/default/fraud"}}
	seen     = object{"minimum": 1}
)

// limits are what requests' fields must keep to besides their types.
var limits = map[string]object{
	"RolloutRequest.action":        {"enum": []any{"start", "pause", "resume", "promote", "abort"}},
	"RolloutRequest.version":       {"pattern": noNamePattern, "maxLength": maxName},
	"RolloutRequest.reason":        {"maxLength": maxReason, "pattern": linePattern},
	"RollbackRequest.to":           {"pattern": noNamePattern, "maxLength": maxName},
	"RollbackRequest.reason":       reasoned,
	"PolicyRollbackRequest.reason": reasoned,
	"ReasonRequest.reason":         reasoned,
	"KeyRotationRequest.reason":    reasoned,
	"KillRequest.target":           targeted,
	"KillRequest.mode":             {"enum": []any{"", kill.Degrade, kill.Default, kill.Blackhole}},
	"KillRequest.reason":           reasoned,
	"ReviveRequest.target":         targeted,
	"ReviveRequest.generation":     seen,
	"ReviveRequest.reason":         reasoned,
	"ApproveRequest.target":        targeted,
	"ApproveRequest.generation":    seen,
	"ApproveRequest.ask":           seen,
	"ApproveRequest.reason":        reasoned,
	"Step.weight":                  {"minimum": 0, "maximum": 100},
	"Evidence.verdict":             {"enum": verdicts},
	"CheckResult.verdict":          {"enum": verdicts},
}
