package serve

import (
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/telemetry"
)

// proxies counts and logs what the proxies say of a configuration.
type proxies struct {
	metrics *telemetry.Metrics
	log     *telemetry.Log
	denied  *denials
}

func newProxies(m *telemetry.Metrics, l *telemetry.Log) proxies { return proxies{m, l, &denials{}} }

func (o proxies) Accepted(_, typeURL, _ string) { o.metrics.XDSAck(typeURL) }

func (o proxies) Refused(node, typeURL, version, message string) {
	o.metrics.XDSNack(typeURL)
	o.log.Error().Str("node", node).Str("type", typeURL).Str("version", version).Str("message", message).
		Msg("a proxy refused a configuration and goes on with its last one")
}

func (o proxies) Denied(node string, cause xds.Cause, why string) {
	o.metrics.XDSDenied()
	unsaid, ok := o.denied.say(cause, time.Now())
	if !ok {
		return
	}
	e := o.log.Error().Str("node", node).Str("cause", string(cause)).Str("why", why)
	if unsaid > 0 {
		e.Uint64("unsaid", unsaid)
	}
	e.Msg("a proxy was turned away")
}
