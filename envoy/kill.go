package envoy

import (
	"fmt"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// A killed route leads to no version: all that it has is an answer of its own.
// Under degrade the processor still sees its requests, and the ladder answers;
// under the other modes, and without a policy, Envoy answers alone. A killed
// version's cluster stays, so that no route names one that is missing, without
// endpoints: what is in flight and tried again finds nobody there.

// ProbeDomain is the host of the one route that is in every configuration: a GET
// of any path of it answers with the kills that this worker of the proxy has the
// routes of. It is no name that anybody resolves (RFC 2606).
const ProbeDomain = "safestate-probe.invalid"

// ProbeInner is the path of ProbeDomain by which the routes behind a hop are asked,
// those of gRPC calls whose last rung is a message. Where there are none it is a
// path like any other.
const ProbeInner = "/inner"

// reasonKilled is x-safestate-reason where Envoy alone answers for what is killed.
const reasonKilled = string(verdict.Killed)

// answersKilled reports whether Envoy alone answers for a killed route.
func answersKilled(r *compile.Route) bool {
	return r.Kill != nil && (r.Policy == nil || r.Kill.Mode != kill.Degrade)
}

// killedRoutes gives the Envoy routes of one match of a route that Envoy alone
// answers for: 503 and the reason, and under the mode default in front of it the
// policy's default, for the calls that ask for a prediction.
func killedRoutes(m *compile.Match, r *compile.Route) ([]*routev3.Route, error) {
	refusal, err := killedRoute(m, r)
	if err != nil {
		return nil, err
	}
	if r.Kill.Mode != kill.Default || r.Policy == nil || !r.Policy.Mode.Enforces() || guardsGRPC(r) && !answersByMessage(r) {
		return []*routev3.Route{refusal}, nil
	}
	answer, err := killedRoute(m, r)
	if err != nil {
		return nil, err
	}
	if guardsGRPC(r) {
		answer = killedMessage(answer, r)
	} else if err := killedDefault(answer, r.Policy); err != nil {
		return nil, err
	}
	refusal.Name += " (no inference)"
	return []*routev3.Route{answer, refusal}, nil
}

// killedRoute refuses: 503, which is UNAVAILABLE to a gRPC call.
func killedRoute(m *compile.Match, r *compile.Route) (*routev3.Route, error) {
	out, err := plainRoute(m, r)
	if err != nil {
		return nil, err
	}
	out.Metadata = killMetadata(r)
	return out, nil
}

func killMetadata(r *compile.Route) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{policy.MetadataNamespace: {Fields: map[string]*structpb.Value{
		policy.MetadataKillGeneration: structpb.NewStringValue(policy.KillsOf(r.KillGeneration, r.KillMark)),
	}}}}
}

// refuse makes a route answer 503. Of a killed one it says why, unless what
// answers in its place has said so itself.
func refuse(out *routev3.Route, killed bool) {
	out.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 503}}
	if killed {
		why := setHeader(headerReason, reasonKilled)
		why.AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
		out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, why)
	}
}

// killedDefault puts what Envoy alone answers under a policy in the place of a
// refusal, for predictions.
func killedDefault(out *routev3.Route, p *policy.Policy) error {
	calls, err := inferenceCalls(p.Protocol)
	if err != nil {
		return err
	}
	form, body := formOf(p), p.Default().Body
	if form.asError {
		body = errorObject(verdict.Killed)
	}
	if form.status < 200 || form.status > 599 {
		return fmt.Errorf("the default's status is %d, want 200 to 599", form.status)
	}
	out.Match.Headers = append(out.Match.Headers, calls...)
	out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd,
		setHeader("content-type", formatLiteral(form.contentType)),
		setHeader(headerSource, sourceDefault),
		setHeader("cache-control", "no-store"))
	out.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: uint32(form.status), Body: inline(body)}}
	return nil
}

// killedMessage takes a prediction over gRPC to the listener that answers with
// the default as a message. Nothing of ours is asked on the way.
func killedMessage(out *routev3.Route, r *compile.Route) *routev3.Route {
	out.Match.Headers = append(out.Match.Headers, grpcCall(callInfer)...)
	out.RequestHeadersToAdd = []*corev3.HeaderValueOption{setHeader(headerDefault, formatLiteral(r.Name))}
	out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, setHeader(headerReason, reasonKilled))
	out.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: messageName},
		Timeout:          duration(time.Second),
	}}
	return out
}

// killedCluster is a cluster without endpoints: of nothing else about it anything
// is left that could be waited for, checked or asked. The one for what a ramp
// withholds over gRPC has an endpoint that refuses: see refuseWithoutHosts.
func killedCluster(c *compile.Cluster) *clusterv3.Cluster {
	out := &clusterv3.Cluster{
		Name:                          c.Name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                duration(c.ConnectTimeout),
		LoadAssignment:                &endpointv3.ClusterLoadAssignment{ClusterName: c.Name},
		CircuitBreakers:               versionLimits(c.Limits, concurrency),
		TypedExtensionProtocolOptions: httpOptions(modelHTTP(nil)),
	}
	if c.HTTP2 {
		out.TypedExtensionProtocolOptions = httpOptions(modelHTTP2(nil))
		if strings.HasPrefix(c.Name, policy.ClusterNone) {
			refuseWithoutHosts(out.LoadAssignment)
			out.LoadAssignment.Endpoints[0].Priority = 0
		}
	}
	return out
}

// probeHost answers for ProbeDomain out of the routes that it is in. Where gRPC
// calls pass through a second table of routes, ProbeInner is answered out of that;
// else out of this one.
func probeHost(s *compile.Snapshot, inner bool) *routev3.VirtualHost {
	mark := s.Kills
	if mark == (compile.Kills{}) {
		mark = compile.KillsOf(nil)
	}
	out := &routev3.VirtualHost{Name: ProbeDomain, Domains: []string{ProbeDomain}}
	if inner {
		out.Routes = append(out.Routes, &routev3.Route{
			Name:  ProbeDomain + " (hop)",
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: ProbeInner}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: innerName}, Timeout: duration(time.Second),
			}},
		})
	}
	out.Routes = append(out.Routes, &routev3.Route{
		Name:  ProbeDomain,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{
			setHeader("content-type", "application/json"), setHeader("cache-control", "no-store"), setHeader(ProbeNode, nodeID),
		},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 200, Body: inline(fmt.Sprintf(`{"killGeneration":%d,"set":%q}`, mark.Generation, mark.Enforced)),
		}},
	})
	return out
}
