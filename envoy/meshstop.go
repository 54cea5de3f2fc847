package envoy

import (
	"strconv"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	setmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	runtimefractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
)

// Stops is what gets no traffic on one route of a mesh's, whatever weights the
// mesh's own object gives it. The zero value stops nothing.
type Stops struct {
	All      bool     // the route leads nowhere
	Versions []string // clusters of versions that are stopped
	// Withheld is the share that a ramp holds back, in millionths.
	Withheld uint32
}

// Empty reports whether nothing is stopped.
func (s Stops) Empty() bool { return !s.All && len(s.Versions) == 0 && s.Withheld == 0 }

// StopsOf is what a snapshot with kills leaves nothing to on a route: a mesh's own
// weights may still name it. A route all of whose weights are 0 leads nowhere; one that
// names no version is the mesh's own, but where it is killed.
func StopsOf(s *compile.Snapshot, r *compile.Route) Stops {
	var out Stops
	sum, withheld := uint64(0), uint64(0)
	for _, b := range r.Backends {
		sum += uint64(b.Weight)
		if !policy.IsVersion(b.Cluster) {
			withheld += uint64(b.Weight)
		}
	}
	out.All = sum == 0 && len(r.Backends) > 0 || r.Kill != nil
	if sum > 0 {
		out.Withheld = uint32(withheld * 1_000_000 / sum)
	}
	for i := range s.Clusters {
		if c := &s.Clusters[i]; c.Killed && policy.IsVersion(c.Name) && !out.All {
			for _, b := range r.Backends {
				if b.Cluster == c.Name {
					out.Versions = append(out.Versions, c.Name)
				}
			}
		}
	}
	return out
}

// on stops what is stopped on a route with a policy: behind the processor, which
// answers as the mode says, and tells of each request by which kills it came. Without
// it predictions get the last rung where the policy has Envoy answer, and the mode is
// not to answer at all.
func (s Stops) on(out *routev3.Route, r *compile.Route) {
	if s.Empty() {
		return
	}
	out.TypedPerFilterConfig[filterStop] = s.whatever()
	fields := out.Metadata.FilterMetadata[policy.MetadataNamespace].Fields
	fields[metadataStopped] = structpb.NewStringValue(reasonKilled)
	if answersAlone(r.Policy) && (r.Kill == nil || r.Kill.Mode != kill.Blackhole) {
		causes := fields[metadataCauses].GetStringValue()
		fields[metadataCauses] = structpb.NewStringValue(strings.TrimPrefix(causes+","+causeStopped, ","))
	}
}

// metadataStopped is the key of a route's metadata by which a refusal of filterStop is
// told from that of somebody else's fault filter.
const metadataStopped = "stopped"

// stoppedReply gives the refusal of what is stopped, where no default takes its place,
// its reason and no body: it looks as a killed route does where safestate makes the
// routes.
func stoppedReply() *hcmv3.ResponseMapper {
	const metadata = "xds.route_metadata.filter_metadata"
	return &hcmv3.ResponseMapper{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{
			Filters: []*accesslogv3.AccessLogFilter{serverErrors(), celFilter("response.code_details == 'fault_filter_abort' && '" + policy.MetadataNamespace + "' in " + metadata +
				" && '" + metadataStopped + "' in " + metadata + "['" + policy.MetadataNamespace + "']")},
		}}},
		HeadersToAdd: []*corev3.HeaderValueOption{setHeader(headerReason, reasonKilled)},
		BodyFormatOverride: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: inline("")}, OmitEmptyValues: true,
		},
	}
}

// whatever refuses what is stopped with a plain 503.
func (s Stops) whatever() *anypb.Any {
	abort := &faultv3.HTTPFault{
		Abort: &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 503},
			Percentage: &typev3.FractionalPercent{Numerator: 100},
		},
		AbortPercentRuntime: filterKill + ".percent", AbortHttpStatusRuntime: filterKill + ".status",
	}
	if s.All {
		return always("stop", filterStop, abort)
	}
	var is []*xdsmatcherv3.Matcher_MatcherList_Predicate
	for _, cluster := range s.Versions {
		is = append(is, goesTo(cluster))
	}
	if s.Withheld > 0 {
		is = append(is, drawn(s.Withheld, drawsWithheld))
	}
	if len(is) == 1 {
		return whenever(is[0], "stop", filterStop, abort)
	}
	return whenever(anyOf(is), "stop", filterStop, abort)
}

// What is drawn for a request: seeds, so that one draw says nothing of the other.
const (
	drawsWithheld = iota + 1
	drawsVersion
)

// drawn holds for a share of requests, in millionths. The draw is a hash of the
// request's own id, which every proxy gives to those that have none.
func drawn(share uint32, seed uint64) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return custom("id", packed(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: "x-request-id"}),
		"envoy.matching.matchers.runtime_fraction", packed(&runtimefractionv3.RuntimeFraction{
			RuntimeFraction: &corev3.RuntimeFractionalPercent{
				DefaultValue: &typev3.FractionalPercent{Numerator: share, Denominator: typev3.FractionalPercent_MILLION},
				RuntimeKey:   "safestate.drawn",
			},
			Seed: seed,
		}))
}

// callConfig marks a request as a prediction.
func callConfig() *setmetadatav3.Config {
	return &setmetadatav3.Config{Metadata: []*setmetadatav3.Metadata{{
		MetadataNamespace: policy.MetadataNamespace, AllowOverwrite: true, Value: structOf(metadataCall, "prediction"),
	}}}
}

// meshHeaders is what a prediction's request is given: the model's share of the
// deadline, in the place of what a caller may have set, and no encoding, since what
// is compressed cannot be read.
func meshHeaders(r *compile.Route) *headermutationv3.HeaderMutation {
	mutations := removeHeaders(callersHeaders[1:]...)
	mutations = append(mutations, appended("accept-encoding", "identity"))
	if !r.Inbound() { // where filters behind this one ask for it
		mutations = append(mutations, appended(policy.HeaderGuarded, guardedBy(r.Policy)))
	}
	if r.MaxDuration > 0 && r.ModelTimeout > 0 {
		name := headerTimeout
		if r.Policy.Stream != nil {
			name = headerPerTryTimeout
		}
		mutations = append(mutations, appended(name, strconv.FormatInt(max(1, r.ModelTimeout.Milliseconds()), 10)))
	}
	return &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{RequestMutations: mutations}}
}

func appended(name, value string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: setHeader(name, value)}}
}
