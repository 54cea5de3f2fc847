package envoy

import (
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	statslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/verdict"
)

// LastRungCounter is Envoy's own counter of the safe defaults that it gave
// without the processor, with the tags route and reason (the first word of
// x-safestate-reason). It is in the scope StatPrefix: Prometheus has it as
// envoy_safestate_last_rung. A series exists from its first answer on.
const LastRungCounter = "last_rung"

// detailsUnjudged are the response code details where custom_response put the
// default in the place of a 5xx that nobody had judged.
const detailsUnjudged = "unjudged_upstream_5xx"

// lastRungCounter counts what no processor counts. The processor gives the same
// default, with the same headers: then the details are its own, or the
// upstream's where it changed an answer in place.
func lastRungCounter(o Options) *accesslogv3.AccessLog {
	source := "response.headers['" + headerSource + "']"
	conditions := []string{
		"'" + headerSource + "' in response.headers",
		source + " == '" + sourceDefault + "'",
		"response.code_details != 'via_upstream'",
		"!response.code_details.startsWith('safestate_')",
	}
	if o.WASM != "" { // the filter's own answers have none, and it counts them
		conditions = append(conditions, "response.code_details != ''")
	}
	return &accesslogv3.AccessLog{
		Name:   "envoy.access_loggers.stats",
		Filter: celFilter(strings.Join(conditions, " && ")),
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&statslogv3.Config{
			StatsScope: &typev3.Scope{Prefix: StatPrefix},
			Counters: []*statslogv3.Config_Counter{{
				Stat: &statslogv3.Config_Stat{Name: LastRungCounter, Tags: []*statslogv3.Config_Tag{
					{Name: "route", ValueFormat: "%ROUTE_NAME%"},
					{Name: "reason", ValueFormat: "%CEL(" + reasonOnly() + ")%"},
				}},
				ValueFixed: wrapperspb.UInt64(1),
			}},
		})},
	}
}

// reasonOnly is CEL for the code in x-safestate-reason. What follows the code
// there has no bound, and a tag's values are kept for ever.
func reasonOnly() string {
	codes := []string{string(verdict.BrokenStatus), ReasonUnanswered, reasonKilled}
	for i := range rungCauses {
		if code := string(rungCauses[i].code); !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	expression := "'other'"
	for _, code := range codes {
		expression = "response.headers['" + headerReason + "'].startsWith('" + code + "') ? '" + code + "' : " + expression
	}
	return expression
}
