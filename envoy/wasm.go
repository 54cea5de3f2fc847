package envoy

import (
	"fmt"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// filterWASM judges inside Envoy. It stands in front of the processor in the chain,
// so that on the way back it comes after it and judges what that has not.
const filterWASM = "safestate.wasm"

// wasmConfiguration is the module's: where it has failed answers answered that it
// cannot answer by itself. Everything else is in the route's metadata.
const wasmConfiguration = `{"answers":"` + AnswersClusterName + `"}`

// wasmReload is how soon after a VM was made a broken one is replaced. Envoy's own
// second would refuse every request of a worker for as long after one trap.
const wasmReload = 2 * time.Millisecond

// wasmFilters is the filter wherever there is a module for it, whether or not a
// route turns it on: Envoy compiles a module for seconds, in which it takes no new
// configuration, and does so when it starts rather than with the first policy that
// asks for it. Turned off it costs a request nothing.
func wasmFilters(o Options) []*hcmv3.HttpFilter {
	if o.WASM == "" {
		return nil
	}
	return []*hcmv3.HttpFilter{filter(filterWASM, &wasmfilterv3.Wasm{Config: &wasmv3.PluginConfig{
		Name:   filterWASM,
		RootId: "safestate",
		Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: &wasmv3.VmConfig{
			VmId:    "safestate",
			Runtime: "envoy.wasm.runtime.v8",
			// A local file is compiled before there is a listener; one that is
			// fetched would be compiled while requests come.
			Code: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{Local: &corev3.DataSource{
				Specifier: &corev3.DataSource_Filename{Filename: o.WASM},
			}}},
		}},
		Configuration: packed(wrapperspb.String(wasmConfiguration)),
		FailurePolicy: wasmv3.FailurePolicy_FAIL_RELOAD,
		ReloadConfig:  &wasmv3.ReloadConfig{Backoff: &corev3.BackoffStrategy{BaseInterval: duration(wasmReload)}},
		// Without it an answer whose headers are held has no body ever.
		AllowOnHeadersStopIteration: wrapperspb.Bool(true),
	}})}
}

// wasmRoutes is how long a listener waits for its routes beside a module, which
// Envoy compiles while the routes come: it takes neither in before it is done, and
// a listener that has given up on its routes answers 404. Whoever has the listener
// has had it from the control plane a moment ago.
const wasmRoutes = 30 * time.Second

func awaitRoutes(hcm *hcmv3.HttpConnectionManager, o Options) {
	if rds := hcm.GetRds(); rds != nil && o.WASM != "" {
		rds.ConfigSource.InitialFetchTimeout = duration(wasmRoutes)
	}
}

// wasmPerRoute turns the filter on for a route. It takes no configuration of its own
// there: that it has one, which is empty, is what turns it on.
func wasmPerRoute() *anypb.Any { return packed(&routev3.FilterConfig{Config: &anypb.Any{}}) }

// wasmPiece is more than Envoy takes in at once from a connection: its buffer of one,
// and what a read adds to it.
const wasmPiece = listenerBuffer + 256<<10

// bodyBuffer is how much of a body Envoy keeps for a route's filters. Past it Envoy
// answers by itself, before a WASM filter sees the piece that is too much: there is
// room for one more.
func bodyBuffer(p *policy.Policy) int64 {
	if p.Host.WASM() {
		return p.Limits.BodyBytes + wasmPiece
	}
	return p.Limits.BodyBytes
}

// listenerBufferFor is as much of it as a listener has to keep, whatever its routes
// say. With a module it is for every policy as if the filter judged: a listener that
// changed with a policy's host would be drained.
func listenerBufferFor(s *compile.Snapshot, o Options) uint32 {
	if o.WASM == "" {
		return listenerBuffer
	}
	most := int64(listenerBuffer)
	for i := range s.Routes {
		if p := s.Routes[i].Policy; p != nil {
			most = max(most, p.Limits.BodyBytes)
		}
	}
	return uint32(min(most+wasmPiece, math.MaxUint32))
}

// haveModule is an error where a route needs the filter and there is no module.
func haveModule(s *compile.Snapshot, o Options) error {
	for i := range s.Routes {
		if err := HasModule(&s.Routes[i], o); err != nil {
			return err
		}
	}
	return nil
}

// HasModule says what is wrong with a route that the WASM filter is to judge where o
// names no module.
func HasModule(r *compile.Route, o Options) error {
	if o.WASM != "" || r.Policy == nil || !r.Policy.Host.WASM() {
		return nil
	}
	return fmt.Errorf("route %s is judged by the WASM filter (policy %s), and there is no module for it: "+
		"want --wasm-module, the path of safestate.wasm on Envoy's machine", r.Name, r.Policy.Name)
}

// wasmLabels are the labels of the filter's metrics: those of the processor's that it
// has as well, and callback, of its own.
var wasmLabels = []string{
	"route", "model", "model_version", "source", "detector", "mode", "cause", "over", "callback", "rung", "outcome", "name", "kind", "to",
}

// wasmStats takes the labels out of the names of the filter's metrics, which have no
// other place for them: NAME;.label=.value;.  Envoy looks for the beginning of each
// expression first, so that other metrics cost nothing.
func wasmStats(o Options) *metricsv3.StatsConfig {
	if o.WASM == "" {
		return nil
	}
	out := &metricsv3.StatsConfig{}
	for _, label := range slices.Sorted(slices.Values(wasmLabels)) {
		out.StatsTags = append(out.StatsTags, &metricsv3.TagSpecifier{
			TagName:  label,
			TagValue: &metricsv3.TagSpecifier_Regex{Regex: `^wasmcustom\..*?(;\.` + label + `=\.(.*?);(?:\.|$))`},
		})
	}
	return out
}
