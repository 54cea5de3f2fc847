package filter

import (
	"errors"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/budget"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

const (
	// tick is how often the clock looks at what is open. An answer that is late is
	// found up to this much later.
	tick = 20 * time.Millisecond
	// mostHeld bounds the bodies that a worker keeps, in bytes.
	mostHeld = 64 << 20
	// mostJudges bounds the exchanges that are kept for reuse.
	mostJudges = 64
)

// NewVMContext returns what the host starts a VM with.
func NewVMContext() types.VMContext { return &vm{} }

type vm struct{ types.DefaultVMContext }

// NewPluginContext implements types.VMContext.
func (*vm) NewPluginContext(contextID uint32) types.PluginContext {
	p := &plugin{
		id: contextID, settings: settings{Answers: defaultAnswers},
		routes: map[string]*route{}, inForce: map[string]*route{}, streams: map[uint32]*stream{}, budgets: budget.NewSet(),
	}
	p.breakers = breaker.NewSet(p.now, p.breakerChanged)
	return p
}

// settings are the plugin's configuration: what no policy says.
type settings struct {
	// Answers is the cluster of safestate's own upstream, which runs the rungs that
	// take a network and takes reports; empty: there is none.
	Answers string // "answers"
}

// read reads a JSON object; what it does not name stays.
func (s *settings) read(text []byte) error {
	var doc scan.Document
	if err := doc.Parse(text, scan.Limits{}); err != nil {
		return err
	}
	answers, twice := doc.Root().Get("answers")
	switch {
	case doc.Root().Kind() != scan.Object:
		return errors.New("it is another kind of value")
	case twice:
		return errors.New("answers is there more than once")
	case !scan.Present(answers):
		return nil
	case answers.Kind() != scan.String:
		return errors.New("answers is no string")
	}
	s.Answers = string(answers.Text(nil))
	return nil
}

const defaultAnswers = "safestate_answers"

// plugin is what all streams of one worker share.
type plugin struct {
	types.DefaultPluginContext
	id       uint32
	settings settings

	routes   map[string]*route // by digest of the policy
	inForce  map[string]*route // by the name of the route
	last     *route            // the one that was asked for last
	streams  map[uint32]*stream
	judges   []*detect.Exchange
	breakers *breaker.Set
	budgets  *budget.Set
	held     int64     // bytes of bodies
	clock    time.Time // as it was read last
	due      time.Time // when the clock next has to look at the streams; zero: nothing waits

	metrics metrics
	reports reporter
}

// OnPluginStart implements types.PluginContext. A configuration that cannot be read
// fails the start: Envoy refuses the listener, and says so.
func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err == nil && len(text) > 0 {
		if err := p.settings.read(text); err != nil {
			proxywasm.LogCritical("safestate: the plugin's configuration is no JSON object such as {\"answers\": \"safestate_answers\"}: " + err.Error())
			return types.OnPluginStartStatusFailed
		}
	}
	if err := proxywasm.SetTickPeriodMilliSeconds(uint32(tick / time.Millisecond)); err != nil {
		proxywasm.LogCritical("safestate: the host sets no clock: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	p.reports.begin(p)
	return types.OnPluginStartStatusOK
}

// NewHttpContext implements types.PluginContext.
func (p *plugin) NewHttpContext(contextID uint32) types.HttpContext {
	s := &stream{plugin: p, id: contextID}
	p.streams[contextID] = s
	return s
}

// OnTick implements types.PluginContext.
func (p *plugin) OnTick() {
	now := p.look()
	if !p.due.IsZero() && !now.Before(p.due) {
		p.lookAtStreams(now)
	}
	p.metrics.flush()
	p.reports.tick(now)
}

// lookAtStreams ends what is late, and finds when the next may be.
func (p *plugin) lookAtStreams(now time.Time) {
	p.due = time.Time{}
	for id, s := range p.streams {
		if s.bound.IsZero() {
			continue
		}
		if now.Before(s.bound) {
			p.wake(s.bound)
			continue
		}
		if proxywasm.SetEffectiveContext(id) != nil {
			continue // it is gone, and its end is on its way
		}
		s.tickedSafely(now)
		if !s.bound.IsZero() {
			p.wake(s.bound)
		}
	}
	_ = proxywasm.SetEffectiveContext(p.id) // the plugin's own is always there
}

// tickedSafely is ticked of one stream, whose panic is none of the others'.
func (s *stream) tickedSafely(now time.Time) {
	defer func() {
		if recover() == nil {
			return
		}
		proxywasm.LogError("safestate: a stream's clock failed")
		s.plugin.metrics.counter("safestate_wasm_recovered_total", label{"callback", "proxy_on_tick"}).add(1)
		if s.lost() == types.ActionContinue {
			_ = proxywasm.ResumeHttpResponse() // it is held, and nothing else lets it go
		}
	}()
	s.ticked(now)
}

// wake has the clock look at the streams at a time.
func (p *plugin) wake(at time.Time) {
	if p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
}

// look reads the clock, once for a callback that needs it.
func (p *plugin) look() time.Time {
	p.clock = time.Now()
	return p.clock
}

// now is the time of the callback at hand.
func (p *plugin) now() time.Time {
	if p.clock.IsZero() {
		return p.look()
	}
	return p.clock
}

// judge returns an exchange to judge by; done gives it back.
func (p *plugin) judge() *detect.Exchange {
	if n := len(p.judges); n > 0 {
		x := p.judges[n-1]
		p.judges = p.judges[:n-1]
		return x
	}
	return &detect.Exchange{}
}

func (p *plugin) done(x *detect.Exchange) {
	x.Reset()
	if len(p.judges) < mostJudges {
		p.judges = append(p.judges, x)
	}
}

// hold counts bytes of a body against what the worker may keep.
func (p *plugin) hold(n int) bool {
	if p.held+int64(n) > mostHeld {
		return false
	}
	p.held += int64(n)
	return true
}
