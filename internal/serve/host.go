package serve

import (
	"github.com/safestate/safestate/extproc"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/tenant"
)

// host is the half of a process that judges answers.
type host struct {
	state     *extproc.State
	reporter  *signals.Reporter // nil: nobody is told
	processor *extproc.Server
	kills     *kills
	// gathered are the reports of filters inside Envoy, and relay hands them to the
	// control plane, where that is another process; nil elsewhere.
	gathered *signals.Hub
	relay    *signals.Relay
}

// newHost makes the processor, which reports to the plane of the same process or
// to those that it is told of.
func newHost(p *process) (*host, error) {
	o := &p.options
	state, err := extproc.NewState(extproc.StateOptions{
		Metrics: p.metrics, Log: p.log, Redis: o.Redis, RedisPasswordFile: o.RedisPasswordFile, CacheBytes: o.CacheBytes,
		Files: tenant.Files(o.FilesBelow),
	})
	if err != nil {
		return nil, err
	}
	h := &host{state: state}
	if h.kills, err = openKills(p); err != nil {
		state.Close()
		return nil, err
	}
	p.metrics.Kills(h.kills.gauges)
	if link := p.link(); link != nil {
		h.reporter = signals.NewReporter(signals.ReporterOptions{
			Name: o.Replica, Links: []signals.Link{link}, Breakers: state.Breakers, Kills: h.kills.inForce(),
			OnLink: func(err error) {
				if p.draining.Load() {
					return // it is meant to end
				}
				if err != nil {
					p.log.Warn().Err(err).Msg("reports do not reach the control plane")
					return
				}
				p.log.Info().Msg("reports reach the control plane")
			},
		})
	}
	h.processor = extproc.New(extproc.Options{
		Metrics: p.metrics, Log: p.log, Tracer: p.tracer, State: state, MaxInFlight: o.MaxBodies, Signals: h.reporter, Reports: h.gather(p),
		Signed: o.strict(), Keys: p.keys, Kills: h.kills.live, Mesh: o.TLS.ProxyCA != "",
	})
	return h, nil
}

// gather returns who takes the reports of filters inside Envoy: the plane of the same
// process, or a hub that hands on to another's; nil: nobody.
func (h *host) gather(p *process) func(*signalsv1.Report) error {
	if p.plane != nil {
		if p.options.NoReleases {
			return nil
		}
		return p.plane.hub.Deliver
	}
	link := p.link()
	if link == nil {
		return nil
	}
	h.gathered = signals.NewHub(signals.HubOptions{})
	h.relay = signals.NewRelay(h.gathered, nil)
	h.relay.To(link)
	return h.gathered.Deliver
}

// link is the way to the control plane; nil: there is none.
func (p *process) link() signals.Link {
	o := &p.options
	switch {
	case p.plane != nil && o.NoReleases:
		return nil
	case p.plane != nil:
		return p.plane.hub.Link()
	case len(o.Control) == 0:
		return nil
	}
	return signals.Dial(signals.DialOptions{Targets: targets(o.Control), Credentials: p.dial})
}

// targets are addresses as gRPC names them.
func targets(addresses []string) []string {
	out := make([]string, len(addresses))
	for i, address := range addresses {
		out[i] = address
		if _, unix := cutUnix(address); !unix {
			out[i] = "dns:///" + address
		}
	}
	return out
}

func (h *host) close() {
	h.processor.Close()
	h.kills.close()
	h.reporter.Close()
	if h.relay != nil {
		h.relay.Close()
		h.gathered.Close()
	}
	h.state.Close()
}
