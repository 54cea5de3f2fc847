package envoy

import (
	"fmt"
	"maps"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// directBody is the most bytes of a direct response that Envoy takes by itself.
const directBody = 4096

// routeConfig renders every host and its entries, in their order, and the host of
// probes.
func routeConfig(s *compile.Snapshot, o Options) (*routev3.RouteConfiguration, error) {
	rc := &routev3.RouteConfiguration{
		Name: RouteConfigName,
		// Off by default, and a route to a missing cluster would be taken and
		// answer 503.
		ValidateClusters:                wrapperspb.Bool(true),
		IgnorePortInHostMatching:        true,
		MostSpecificHeaderMutationsWins: false,
	}
	longest, hop := 0, false
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Domain == ProbeDomain {
			return nil, fmt.Errorf("host %q is safestate's own", h.Domain)
		}
		vh := &routev3.VirtualHost{Name: h.Domain, Domains: []string{h.Domain}, Routes: []*routev3.Route{stopAll()}}
		for j := range h.Entries {
			e := &h.Entries[j]
			if e.Route < 0 || e.Route >= len(s.Routes) {
				return nil, fmt.Errorf("host %q: entry %d names route %d of %d", h.Domain, j, e.Route, len(s.Routes))
			}
			r := &s.Routes[e.Route]
			stops, err := stopRoutes(&e.Match, r)
			if err != nil {
				return nil, fmt.Errorf("route %s: %w", r.Name, err)
			}
			routes, err := entryRoutes(s, &e.Match, r, o)
			if err != nil {
				return nil, fmt.Errorf("route %s: %w", r.Name, err)
			}
			hop = hop || answersByMessage(r)
			vh.Routes = append(vh.Routes, stops...)
			vh.Routes = append(vh.Routes, withSession(routes, r.Session)...)
			if answersKilled(r) && r.Policy != nil {
				longest = max(longest, len(r.Policy.Default().Body))
			}
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
	}
	rc.VirtualHosts = append(rc.VirtualHosts, probeHost(s, hop))
	if longest > directBody {
		rc.MaxDirectResponseBodySizeBytes = wrapperspb.UInt32(uint32(longest))
	}
	return rc, nil
}

// entryRoutes gives the Envoy routes of one match: one, or two where a policy
// applies. The first takes the calls that ask for a prediction; all others
// (health, metadata, CORS preflights) go to the same model by the second,
// which neither knows the processor nor is ever answered by a default. Where
// answers come piece by piece a third stands before both: to the ladder.
func entryRoutes(s *compile.Snapshot, m *compile.Match, r *compile.Route, o Options) ([]*routev3.Route, error) {
	if answersKilled(r) {
		return killedRoutes(m, r)
	}
	if guardsGRPC(r) {
		return grpcRoutes(s, m, r, o)
	}
	if r.Policy == nil {
		plain, err := plainRoute(m, r)
		return []*routev3.Route{plain}, err
	}
	guarded, err := plainRoute(m, r)
	if err != nil {
		return nil, err
	}
	plain, err := plainRoute(m, withoutDeadline(r))
	if err != nil {
		return nil, err
	}
	calls, err := inferenceCalls(r.Policy.Protocol)
	if err != nil {
		return nil, err
	}
	guarded.Match.Headers = append(guarded.Match.Headers, calls...)
	guarded.Metadata, err = policyMetadata(r, o)
	if err != nil {
		return nil, err
	}
	guarded.TypedPerFilterConfig = policyFilters(guarded.TypedPerFilterConfig, r.Policy, o)
	// What is compressed cannot be read, so the model is asked for identity.
	guarded.RequestHeadersToAdd = append(guarded.RequestHeadersToAdd, setHeader("accept-encoding", "identity"))
	guarded.RequestBodyBufferLimit = wrapperspb.UInt64(uint64(bodyBuffer(r.Policy)))
	plain.Name += " (no inference)"
	if r.Policy.Needs.Duplex && r.Policy.Host.Processor() {
		return []*routev3.Route{answerRoute(guarded, r), guarded, plain}, nil
	}
	return []*routev3.Route{guarded, plain}, nil
}

// withoutDeadline is r with the HTTPRoute's own timeouts only: the policy's
// deadline is for predictions.
func withoutDeadline(r *compile.Route) *compile.Route {
	out := *r
	out.ModelTimeout, out.MaxDuration = r.OwnTimeout, 0
	return &out
}

// plainRoute is a route without anything of ours.
func plainRoute(m *compile.Match, r *compile.Route) (*routev3.Route, error) {
	match, err := routeMatch(m)
	if err != nil {
		return nil, err
	}
	out := &routev3.Route{Name: r.Name, Match: match}
	if out.RequestHeadersToAdd, out.RequestHeadersToRemove, err = headerEdit(r.RequestHeaders); err != nil {
		return nil, err
	}
	if out.ResponseHeadersToAdd, out.ResponseHeadersToRemove, err = headerEdit(r.ResponseHeaders); err != nil {
		return nil, err
	}
	clusters, total := weights(r)
	if total == 0 {
		// Envoy refuses weights that add up to nothing. The processor still
		// sees such a request, without a version.
		refuse(out, r.Kill != nil)
		return out, nil
	}
	out.TypedPerFilterConfig = stopVersions(r)
	action := &routev3.RouteAction{
		// A route with one version is weighted too, so that the processor
		// finds the version's name in the same place always.
		ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: clusters}},
		// 0 is no limit; absent would be Envoy's 15 s.
		Timeout: duration(r.ModelTimeout),
	}
	if r.MaxDuration > 0 {
		// It bounds the whole exchange, a hung processor included. Beside it
		// Envoy ignores the timeout: deadlineFilter takes its place.
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: duration(r.MaxDuration)}
		out.TypedPerFilterConfig = merged(out.TypedPerFilterConfig, deadlinePerRoute(r))
	}
	if longest := max(r.ModelTimeout, r.MaxDuration); longest > streamIdle {
		action.IdleTimeout = duration(longest)
	}
	if err := rewrite(action, r.Rewrite, m); err != nil {
		return nil, err
	}
	out.Action = &routev3.Route_Route{Route: action}
	return out, nil
}

func weights(r *compile.Route) (out []*routev3.WeightedCluster_ClusterWeight, total uint64) {
	for _, b := range r.Backends {
		out = append(out, &routev3.WeightedCluster_ClusterWeight{Name: b.Cluster, Weight: wrapperspb.UInt32(b.Weight)})
		total += uint64(b.Weight)
	}
	return out, total
}

// headerEdit renders Set and Add, and Remove. Envoy removes first, so a name
// that is both written and removed is only removed.
func headerEdit(e compile.HeaderEdit) (add []*corev3.HeaderValueOption, remove []string, err error) {
	removed := map[string]bool{}
	for _, name := range e.Remove {
		removed[name] = true
	}
	write := func(h compile.Header, how corev3.HeaderValueOption_HeaderAppendAction) error {
		if strings.HasPrefix(h.Name, ":") || h.Name == "host" {
			return fmt.Errorf("header %q cannot be written by a route", h.Name)
		}
		if removed[h.Name] {
			return nil
		}
		o := setHeader(h.Name, formatLiteral(h.Value))
		o.AppendAction = how
		o.KeepEmptyValue = true
		add = append(add, o)
		return nil
	}
	for _, h := range e.Set {
		if err := write(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD); err != nil {
			return nil, nil, err
		}
	}
	for _, h := range e.Add {
		if err := write(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD); err != nil {
			return nil, nil, err
		}
	}
	return add, append(remove, e.Remove...), nil
}

// formatLiteral keeps Envoy from reading a value as a format.
func formatLiteral(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// policyFilters turns the filters that a policy needs on for one route, beside
// those that already are.
func policyFilters(on map[string]*anypb.Any, p *policy.Policy, o Options) map[string]*anypb.Any {
	out := merged(on, defaultPerRoute(p))
	if p.Host.Processor() {
		out = merged(out, map[string]*anypb.Any{filterProcessor: processorPerRoute(p, messageTimeout(p, o))})
	}
	if p.Host.WASM() {
		out = merged(out, map[string]*anypb.Any{filterWASM: wasmPerRoute()})
	}
	return out
}

// merged puts filters together; nil: there are none.
func merged(all ...map[string]*anypb.Any) map[string]*anypb.Any {
	var out map[string]*anypb.Any
	for _, one := range all {
		if out == nil && len(one) > 0 {
			out = make(map[string]*anypb.Any, len(one))
		}
		maps.Copy(out, one)
	}
	return out
}
