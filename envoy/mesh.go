package envoy

import (
	"maps"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// Where a mesh configures the proxies, listeners, routes and the versions' clusters
// are the mesh's, and what is here is merged into them. A route of the mesh's takes
// health checks as well as predictions, and there is no second one for these: so
// each of our filters is a composite that looks at the request itself, and one of
// them, filterCall, writes down that it is a prediction, for what is asked later.

// Filters that only stand in a mesh's listeners.
const (
	filterCall = "safestate.call" // marks predictions
	filterStop = "safestate.stop" // behind the processor: what is killed gets nothing of what it lets through
)

// metadataCall is the key that filterCall writes under policy.MetadataNamespace of a
// request's own metadata.
const metadataCall = "call"

// isCall holds for predictions on routes with a policy.
const isCall = "'" + policy.MetadataNamespace + "' in metadata.filter_metadata && '" + metadataCall + "' in " + ownMetadata

// Mesh is what proxies that a mesh configures are given beside their routes. It is
// plain data for the mesh to merge.
type Mesh struct {
	Clusters []*clusterv3.Cluster // of the processor and of the ladder
	// Filters stand directly in front of the router, in this order. They are off
	// unless a route turns them on.
	Filters []*hcmv3.HttpFilter
	// Manager has the lists that are added to those of every listener's HTTP: local
	// replies, access logs, early header mutations.
	Manager *hcmv3.HttpConnectionManager
}

// ForMesh is what the proxies need for the routes of s. Of o it goes by Processor,
// Answers and TLS.
func ForMesh(s *compile.Snapshot, o Options) (*Mesh, error) {
	o = o.withDefaults()
	processor, err := serviceCluster(ProcessorClusterName, o.Processor, o.TLS)
	if err != nil {
		return nil, err
	}
	answers, err := answersCluster(o.Answers, o.TLS)
	if err != nil {
		return nil, err
	}
	out := &Mesh{Clusters: []*clusterv3.Cluster{processor, answers}}
	for _, name := range []string{filterCall, filterDefault, filterDeadline} {
		out.Filters = append(out.Filters, filter(name, &compositev3.Composite{}))
	}
	for _, f := range wasmFilters(o) {
		// What turns it on for a route is a message that no mesh can read as JSON. So it
		// is on everywhere, and leaves a route alone that is not its own to judge.
		f.Disabled = false
		out.Filters = append(out.Filters, f)
	}
	for _, name := range []string{filterProcessor, filterStop} {
		out.Filters = append(out.Filters, filter(name, &compositev3.Composite{}))
	}
	cut := cutAnswers()
	cut.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{
		Filters: []*accesslogv3.AccessLogFilter{celFilter(isCall), cut.Filter},
	}}}
	out.Manager = &hcmv3.HttpConnectionManager{
		EarlyHeaderMutationExtensions: dropping(ourHeaders, policy.HeaderGuarded, headerAttempt),
		LocalReplyConfig:              meshReplies(s),
		AccessLog:                     []*accesslogv3.AccessLog{lastRungCounter(o), cut},
	}
	for _, m := range append(messages(out.Clusters), append(messages(out.Filters), out.Manager.LocalReplyConfig)...) {
		if errs := validate(m); len(errs) > 0 {
			return nil, errs[0]
		}
	}
	return out, nil
}

// causeStopped is in metadataCauses while a route, or a version of it, is stopped.
const causeStopped = "stopped"

// meshCauses are the rows of the last rung where one route takes predictions and
// other calls.
func meshCauses() []rungCause {
	out := make([]rungCause, 0, len(rungCauses)+1)
	for _, c := range append([]rungCause{{causeStopped, "response.code_details == 'fault_filter_abort'", verdict.Killed}}, rungCauses...) {
		c.when = "(" + c.when + ") && " + isCall
		out = append(out, c)
	}
	return out
}

// meshReplies are the last rung's, and behind them that of what is stopped.
func meshReplies(s *compile.Snapshot) *hcmv3.LocalReplyConfig {
	out := lastRung(fragmentForms(s), meshCauses())
	if out == nil {
		out = &hcmv3.LocalReplyConfig{}
	}
	out.Mappers = append(out.Mappers, stoppedReply())
	return out
}

// MeshRoute is what is merged into the mesh's own route for r: its name, by which
// everything else knows it, and its filters. versions are the routes' clusters, see
// compile.Snapshot. nil: r has no policy and nothing of it is stopped, and the
// mesh's route stays as it is.
func MeshRoute(r *compile.Route, s Stops, o Options) (*routev3.Route, error) {
	if r.Policy == nil && s.Empty() {
		return nil, nil //nolint:nilnil // nothing is merged
	}
	out := &routev3.Route{Name: r.Name}
	if r.Policy == nil {
		out.TypedPerFilterConfig = map[string]*anypb.Any{filterStop: s.whatever()}
		out.Metadata = killMetadata(r)
		out.Metadata.FilterMetadata[policy.MetadataNamespace].Fields[metadataStopped] = structpb.NewStringValue(reasonKilled)
		return out, nil
	}
	if err := HasModule(r, o); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	var err error
	if out.Metadata, err = policyMetadata(r, o); err != nil {
		return nil, err
	}
	filters := meshHTTP
	if guardsGRPC(r) {
		filters = meshGRPC
	}
	if err := filters(out, r, o); err != nil {
		return nil, err
	}
	out.RequestBodyBufferLimit = wrapperspb.UInt64(uint64(bodyBuffer(r.Policy)))
	s.on(out, r)
	if errs := validate(out.GetMetadata()); len(errs) > 0 {
		return nil, errs[0]
	}
	for _, a := range out.TypedPerFilterConfig {
		if errs := validate(a); len(errs) > 0 {
			return nil, errs[0]
		}
	}
	return out, nil
}

// meshHTTP gives a mesh's route its filters.
func meshHTTP(out *routev3.Route, r *compile.Route, o Options) error {
	calls, err := inferenceCalls(r.Policy.Protocol)
	if err != nil {
		return err
	}
	is := predicates(unguarded(r, calls))
	if r.Inbound() {
		out.RequestHeadersToRemove = []string{policy.HeaderGuarded} // it is of this request, and of none that the model makes
	}
	out.TypedPerFilterConfig = map[string]*anypb.Any{
		filterCall:     whenever(is, "call", filterCall, callConfig()),
		filterDeadline: whenever(is, "deadline", filterDeadline, meshHeaders(r)),
	}
	if r.Policy.Host.Processor() {
		out.TypedPerFilterConfig[filterProcessor] = whenever(is, "process", filterProcessor, processorConfig(r.Policy, messageTimeout(r.Policy, o)))
	}
	if c := unjudged(r.Policy); c != nil {
		out.TypedPerFilterConfig[filterDefault] = whenever(is, "default", filterDefault, c)
	}
	return nil
}

// MeshAnswerRoute is what stands in front of the mesh's own routes where answers come
// piece by piece: it takes a request that the processor has marked to the ladder, as
// answerRoute does. guarded is what MeshRoute merges. nil: there is none.
func MeshAnswerRoute(guarded *routev3.Route, r *compile.Route) *routev3.Route {
	if guarded == nil || r.Policy == nil || !r.Policy.Needs.Duplex || !r.Policy.Host.Processor() {
		return nil
	}
	out := &routev3.Route{
		Name: r.Name + " (answer)",
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
			Headers:       []*routev3.HeaderMatcher{present(policy.HeaderAnswer), header(policy.HeaderDigest, exactly(policy.Digest(r.PolicyJSON)))},
		},
		Metadata:               guarded.Metadata,
		RequestBodyBufferLimit: guarded.RequestBodyBufferLimit,
		TypedPerFilterConfig:   maps.Clone(guarded.TypedPerFilterConfig),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: AnswersClusterName}, Timeout: duration(0),
		}},
	}
	delete(out.TypedPerFilterConfig, filterStop) // the ladder answers for what is stopped
	return out
}

// predicates hold for what header matchers do.
func predicates(matchers []*routev3.HeaderMatcher) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	var out []*xdsmatcherv3.Matcher_MatcherList_Predicate
	for _, m := range matchers {
		p := &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
			SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
				Input:   &xdscorev3.TypedExtensionConfig{Name: strings.TrimPrefix(m.GetName(), ":"), TypedConfig: packed(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: m.GetName()})},
				Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: stringMatch(m.GetStringMatch())},
			},
		}}
		if m.GetInvertMatch() {
			p = &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
		}
		out = append(out, p)
	}
	if len(out) == 1 {
		return out[0]
	}
	return allOf(out...)
}

// stringMatch is an exact matcher, or one by an expression, in the other package's terms.
func stringMatch(m *matcherv3.StringMatcher) *xdsmatcherv3.StringMatcher {
	if exact := m.GetExact(); exact != "" {
		return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: exact}}
	}
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
		EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
		Regex:      m.GetSafeRegex().GetRegex(),
	}}}
}

// whenever makes a filter for the requests that a predicate holds for.
func whenever(is *xdsmatcherv3.Matcher_MatcherList_Predicate, what, name string, config proto.Message) *anypb.Any {
	return firstOf(name, branch{is, what, config})
}

// branch is a filter for some requests.
type branch struct {
	is     *xdsmatcherv3.Matcher_MatcherList_Predicate
	what   string
	config proto.Message
}

// firstOf makes the filter of the first branch that a request is of; of none, none.
func firstOf(name string, branches ...branch) *anypb.Any {
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for _, b := range branches {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: b.is, OnMatch: doing(b.what, name, b.config)})
	}
	return packed(&compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}}})
}

// always makes a filter for every request.
func always(what, name string, config proto.Message) *anypb.Any {
	return packed(&compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{OnNoMatch: doing(what, name, config)}})
}

func doing(what, name string, config proto.Message) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: what,
		TypedConfig: packed(&compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{
			Name: name, TypedConfig: packed(config),
		}}),
	}}}
}

func structOf(key, value string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}}
}
