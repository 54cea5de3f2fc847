package serve

import (
	"github.com/safestate/safestate/internal/telemetry"
)

// proxies counts and logs what the proxies say of a configuration.
type proxies struct {
	metrics *telemetry.Metrics
	log     *telemetry.Log
}

func (o proxies) Accepted(_, typeURL, _ string) { o.metrics.XDSAck(typeURL) }

func (o proxies) Refused(node, typeURL, version, message string) {
	o.metrics.XDSNack(typeURL)
	o.log.Error().Str("node", node).Str("type", typeURL).Str("version", version).Str("message", message).
		Msg("a proxy refused a configuration and goes on with its last one")
}

func (o proxies) Denied(node, why string) {
	o.metrics.XDSDenied()
	o.log.Error().Str("node", node).Str("why", why).Msg("a proxy was turned away")
}
