package envoy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	customresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	localpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// metadataCauses is the key of a route's metadata that lists what Envoy alone
// may answer there, a string such as "away,broken,late".
const metadataCauses = "default_causes"

// What a cause is called in metadataCauses.
const (
	causeAway   = "away"   // the processor is dead or hung
	causeBroken = "broken" // the model is refused, reset or has no endpoint
	causeLate   = "late"   // the model or the whole exchange took too long
	causeTrap   = "trap"   // the WASM filter died
)

// ReasonProcessorAway is x-safestate-reason where Envoy answered because the
// processor did not. No detail follows: Envoy's holds the text of a gRPC error.
const ReasonProcessorAway = string(verdict.ProcessorAway)

// Headers that tell what answered.
const (
	headerSource  = verdict.HeaderSource
	headerReason  = verdict.HeaderReason
	sourceDefault = "safe_default"
)

// rungCause is one row of the last rung: a condition on the local reply, who
// must have asked for it, and what the caller is told.
type rungCause struct {
	cause string
	when  string // CEL over the local reply's attributes
	code  verdict.Code
}

// reason is x-safestate-reason, an access log format.
func (c *rungCause) reason() string {
	if c.code == verdict.ProcessorAway {
		return ReasonProcessorAway
	}
	return string(c.code) + " %RESPONSE_CODE_DETAILS%"
}

// rungCauses is an allow-list. Whatever is not on it is another filter's reply
// (a failed authorization, a rate limit, an injected fault, a 404) and stays
// what it is. "Every 5xx" would turn a refused authorization into a 200.
var rungCauses = []rungCause{
	{causeLate, `response.code_details in ['response_timeout', 'max_duration_timeout', 'upstream_per_try_timeout', 'upstream_per_try_idle_timeout']`,
		verdict.LateAnswer},
	{causeBroken, `response.code_details in ['no_healthy_upstream', 'cluster_not_found']`,
		verdict.BrokenUnavailable},
	{causeBroken, `response.code_details == 'response_payload_too_large'`,
		verdict.BrokenTooLarge},
	{causeBroken, `response.code_details.startsWith('upstream_') && response.code_details.contains('connection_failure')`,
		verdict.BrokenRefused},
	{causeBroken, `response.code_details.startsWith('upstream_') && !response.code_details.startsWith('upstream_per_try_')`,
		verdict.BrokenReset},
	{causeAway, `response.code_details.startsWith('ext_proc_error') && (` + processorFailed() + `)`,
		verdict.ProcessorAway},
}

// trapCause is one more row where no other WASM filter is in the chain. One that
// dies takes the requests with it that its worker has under way, and which filter it
// was Envoy does not say: another one's may be an authorization.
var trapCause = rungCause{causeTrap, `response.code_details == 'wasm_fail_stream'`, verdict.ProcessorAway}

// causesIn are the causes of the last rung in a listener of the given name.
func causesIn(listener string, o Options) []rungCause {
	if o.WASM == "" || listener != ListenerName || len(o.ExtraFilters) > 0 {
		return rungCauses
	}
	return append(slices.Clone(rungCauses), trapCause)
}

// processorFailed is true where a call of our own processor failed, as its
// filter wrote down in its filter state. Another team's ext_proc has the same
// code details: it is told apart by this alone, whatever our processor has
// said before.
func processorFailed() string {
	const state = "filter_state['" + filterProcessor + "']."
	return strings.Join([]string{
		state + "request_header_call_status > 0",
		state + "request_body_last_call_status > 0",
		state + "response_header_call_status > 0",
		state + "response_body_last_call_status > 0",
	}, " || ")
}

// policyMetadata is what the route carries: the policy for the processor and its
// signature, and the default for Envoy alone where every request is enforced.
func policyMetadata(r *compile.Route, o Options) (*corev3.Metadata, error) {
	fields := map[string]*structpb.Value{policy.MetadataPolicy: structpb.NewStringValue(r.PolicyJSON)}
	if r.Policy.Host.WASM() {
		fields[policy.MetadataPolicyDigest] = structpb.NewStringValue(policy.Digest(r.PolicyJSON))
	}
	if o.Sign != nil {
		fields[policy.MetadataSignature] = structpb.NewStringValue(o.Sign(r.Name, r.Namespace, r.PolicyJSON))
	}
	if r.Generation > 0 {
		fields[policy.MetadataGeneration] = structpb.NewStringValue(strconv.FormatUint(r.Generation, 10))
	}
	if r.Kill != nil && r.Policy.Host.WASM() {
		fields[policy.MetadataKilled] = structpb.NewStringValue(r.Kill.Target.String())
	}
	if r.KillGeneration > 0 {
		fields[policy.MetadataKillGeneration] = structpb.NewStringValue(policy.KillsOf(r.KillGeneration, r.KillMark))
	}
	switch {
	case !answersAlone(r.Policy):
	case answersByError(r.Policy):
		fields[metadataForm] = structpb.NewStringValue(formError)
		fields[metadataCauses] = structpb.NewStringValue(strings.Join(causesOf(r.Policy), ","))
	default:
		d := r.Policy.Default()
		if status := statusOf(d); status < 200 || status > 599 {
			return nil, fmt.Errorf("the default's status is %d, want 200 to 599", status)
		}
		fields[policy.MetadataDefaultBody] = structpb.NewStringValue(d.Body)
		fields[policy.MetadataDefaultStatus] = structpb.NewStringValue(strconv.Itoa(statusOf(d)))
		fields[policy.MetadataDefaultType] = structpb.NewStringValue(contentTypeOf(d))
		fields[metadataCauses] = structpb.NewStringValue(strings.Join(causesOf(r.Policy), ","))
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{policy.MetadataNamespace: {Fields: fields}}}, nil
}

// answersAlone reports whether Envoy may answer with the default by itself.
// Not to a gRPC call: there a mapper's body becomes the text of an error.
func answersAlone(p *policy.Policy) bool {
	return p.FullyEnforced() && p.Protocol != policy.OpenInferenceGRPC
}

func causesOf(p *policy.Policy) []string {
	var out []string
	if failsClosed(p) && p.Host.Processor() {
		out = append(out, causeAway)
	}
	if p.Host.WASM() {
		out = append(out, causeTrap)
	}
	if b := p.Detect.Broken; b != nil && b.Mode.Enforces() {
		out = append(out, causeBroken)
	}
	if l := p.Detect.Late; l != nil && l.Mode.Enforces() {
		out = append(out, causeLate)
	}
	return out
}

func statusOf(d *policy.SafeDefault) int {
	if d.Status == 0 {
		return 200
	}
	return d.Status
}

func contentTypeOf(d *policy.SafeDefault) string { return orElse(d.ContentType, "application/json") }

// rungForm is what mappers can only name as constants: the status and the
// content-type of a default, whose body is the route's own, or that the answer
// is an error object.
type rungForm struct {
	status      int
	contentType string
	asError     bool
}

func formOf(p *policy.Policy) rungForm {
	if answersByError(p) {
		return rungForm{statusError, chat.TypeJSON, true}
	}
	return rungForm{status: statusOf(p.Default()), contentType: contentTypeOf(p.Default())}
}

// formsOf lists the distinct forms in which Envoy alone answers.
func formsOf(s *compile.Snapshot) []rungForm {
	var forms []rungForm
	for i := range s.Routes {
		p := s.Routes[i].Policy
		if p == nil || !answersAlone(p) {
			continue
		}
		if f := formOf(p); !slices.Contains(forms, f) {
			forms = append(forms, f)
		}
	}
	return forms
}

// lastRung renders the local replies: for each form one mapper a cause.
func lastRung(forms []rungForm, causes []rungCause) *hcmv3.LocalReplyConfig {
	if len(forms) == 0 {
		return nil
	}
	out := &hcmv3.LocalReplyConfig{}
	for i := range forms {
		for j := range causes {
			out.Mappers = append(out.Mappers, mapper(&forms[i], &causes[j]))
		}
	}
	return out
}

func mapper(f *rungForm, c *rungCause) *hcmv3.ResponseMapper {
	const metadata = "xds.route_metadata.filter_metadata"
	own := func(key string) string { return metadata + "['" + policy.MetadataNamespace + "']['" + key + "']" }
	has := func(key string) string {
		return "'" + key + "' in " + metadata + "['" + policy.MetadataNamespace + "']"
	}
	conditions := []string{
		"'" + policy.MetadataNamespace + "' in " + metadata,
		has(metadataCauses),
		own(metadataCauses) + ".contains('" + c.cause + "')",
	}
	body := "%METADATA(ROUTE:" + policy.MetadataNamespace + ":" + policy.MetadataDefaultBody + ")%"
	if f.asError {
		conditions = append(conditions, has(metadataForm), own(metadataForm)+" == '"+formError+"'")
		body = formatLiteral(errorObject(c.code))
	} else {
		conditions = append(conditions,
			own(policy.MetadataDefaultStatus)+" == '"+strconv.Itoa(f.status)+"'",
			own(policy.MetadataDefaultType)+" == "+celString(f.contentType))
	}
	return &hcmv3.ResponseMapper{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{
			Filters: []*accesslogv3.AccessLogFilter{serverErrors(), celFilter(strings.Join(append(conditions, c.when), " && "))},
		}}},
		StatusCode: wrapperspb.UInt32(uint32(f.status)),
		HeadersToAdd: []*corev3.HeaderValueOption{
			setHeader(headerSource, sourceDefault),
			setHeader(headerReason, c.reason()),
			setHeader("cache-control", "no-store"),
		},
		BodyFormatOverride: &corev3.SubstitutionFormatString{
			Format:          &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: inline(body)},
			OmitEmptyValues: true,
			ContentType:     f.contentType,
		},
	}
}

// serverErrors is the cheap half of a mapper's filter.
func serverErrors() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op:    accesslogv3.ComparisonFilter_GE,
			Value: &corev3.RuntimeUInt32{DefaultValue: 500, RuntimeKey: "safestate.last_rung_min_status"},
		}},
	}}
}

func celFilter(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: packed(&celfilterv3.ExpressionFilter{Expression: expression})},
		},
	}}
}

// celString quotes s as a CEL string literal; Go's quoting of printable ASCII
// is CEL's.
func celString(s string) string { return strconv.QuoteToASCII(s) }

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

// defaultFilter is custom_response, which a route needs for the one case that
// is no local reply: a 5xx of the model's own that passes because the
// processor is away. Envoy marks this filter as work in progress.
func defaultFilter() *hcmv3.HttpFilter {
	return filter(filterDefault, &customresponsev3.CustomResponse{})
}

// defaultPerRoute turns it on for a route.
func defaultPerRoute(p *policy.Policy) map[string]*anypb.Any {
	c := unjudged(p)
	if c == nil {
		return nil
	}
	return map[string]*anypb.Any{filterDefault: packed(c)}
}

// unjudged replaces a 5xx of the model's own that nobody has judged; nil: a policy
// has that go to its caller, or nothing passes that nobody has judged.
// The class of the status alone would also take another filter's 503, a
// refused authorization among them: so it must not be a local reply. What the
// processor has judged carries its source, and what it refused (the fallback
// budget is used up), its reason.
func unjudged(p *policy.Policy) *customresponsev3.CustomResponse {
	if !answersAlone(p) || !p.Host.Processor() || p.WhenProcessorAway != policy.AwayPass || p.Detect.Broken == nil || !p.Detect.Broken.Mode.Enforces() {
		return nil
	}
	form, body := formOf(p), p.Default().Body
	if form.asError {
		body = errorObject(verdict.BrokenStatus)
	}
	answer := &localpolicyv3.LocalResponsePolicy{
		Body:       inline(body),
		StatusCode: wrapperspb.UInt32(uint32(form.status)),
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{
			setHeader("content-type", formatLiteral(form.contentType)),
			setHeader(headerSource, sourceDefault),
			setHeader(headerReason, string(verdict.BrokenStatus)),
			setHeader("cache-control", "no-store"),
		},
		ResponseCodeDetailsAction: &localpolicyv3.LocalResponsePolicy_ResponseCodeDetails{ResponseCodeDetails: detailsUnjudged},
	}
	when := &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: []*xdsmatcherv3.Matcher_MatcherList_Predicate{
			predicate("class", &matcherv3.HttpResponseStatusCodeClassMatchInput{}, xdsExactly("5xx")),
			predicate("local", &matcherv3.HttpResponseLocalReplyMatchInput{}, xdsExactly("false")),
			absent(headerSource),
			absent(headerReason),
		}},
	}}
	return &customresponsev3.CustomResponse{CustomResponseMatcher: &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
			Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: when,
				OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
					Action: &xdscorev3.TypedExtensionConfig{Name: "default", TypedConfig: packed(answer)},
				}},
			}},
		}},
	}}
}

func predicate(name string, input proto.Message, value *xdsmatcherv3.StringMatcher) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: packed(input)},
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: value},
		},
	}}
}

// absent holds for an answer without this header.
func absent(header string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{
		NotMatcher: predicate(header, &matcherv3.HttpResponseHeaderMatchInput{HeaderName: header}, &xdsmatcherv3.StringMatcher{
			MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
				EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
				Regex:      ".*",
			}},
		}),
	}}
}

func xdsExactly(s string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: s}}
}
