package serve

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/feed"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signals"
)

// kills are what the process' processor enforces, and how it learns of it: from the
// control plane of the same process, or by a feed from those that it is told of.
type kills struct {
	live *kill.Live // nil: nobody can kill

	// Of a processor that runs apart:
	enforced *feed.Enforced // nil: it does not
	trusted  *feed.Trusted  // nil: the link does not vouch for keys
	began    time.Time
	stop     context.CancelFunc
	ended    chan struct{}

	mu    sync.Mutex
	heard time.Time // since when the link works; zero: it does not
	lost  time.Time // since when it does not
	why   string    // it does not
}

// keysOfControl is the source of keys that --control names.
const keysOfControl = "--control"

// vouched reports whether whoever is at --control is who may say whose policies are
// taken: this machine, or one with a certificate of our authorities.
func (o *Options) vouched() bool {
	if o.Role != RoleExtProc || len(o.Control) == 0 {
		return false
	}
	for _, address := range o.Control {
		if !o.TLS.set() && onlyLocal("--control", address) != nil {
			return false
		}
	}
	return true
}

// openKills begins to follow what is killed.
func openKills(p *process) (*kills, error) {
	o, k := &p.options, &kills{}
	switch {
	case p.plane != nil:
		if p.plane.rules != nil {
			k.live = p.plane.rules.KillsInForce()
		}
		return k, nil
	case len(o.Control) == 0:
		return k, nil
	}
	if err := makeDataDir(o.DataDir); err != nil {
		return nil, err
	}
	problem := func(err error) { p.log.Error().Msg(err.Error()) }
	var err error
	if k.enforced, err = feed.OpenEnforced(o.DataDir, problem); err != nil {
		return nil, err
	}
	k.live = k.enforced.Live()
	take := map[string]func(string) error{feed.Kills: k.enforced.Take}
	if o.vouched() {
		if k.trusted, err = feed.OpenTrusted(o.DataDir, p.keys, keysOfControl, problem); err != nil {
			return nil, err
		}
		take[feed.PolicyKeys] = k.trusted.Take
	}
	below, err := o.TLS.name()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	k.began, k.lost, k.stop, k.ended = time.Now(), time.Now(), stop, make(chan struct{})
	go func() {
		defer close(k.ended)
		feed.Run(ctx, feed.Options{
			Node: feed.Node(below, o.Replica), Targets: targets(o.Control), Credentials: p.dial, Take: take,
			OnLink: func(err error) { k.link(p, err) },
		})
	}()
	return k, nil
}

// link notes how the link to the control plane is.
func (k *kills) link(p *process, err error) {
	k.mu.Lock()
	was, why := k.heard, k.why
	if err == nil {
		k.heard, k.lost, k.why = time.Now(), time.Time{}, ""
	} else {
		if k.lost.IsZero() {
			k.lost = time.Now()
		}
		k.heard, k.why = time.Time{}, err.Error()
	}
	k.mu.Unlock()
	switch {
	case p.draining.Load(): // it is meant to end
	case err == nil:
		set, _ := k.live.Load()
		p.log.Info().Uint64("generation", set.Generation()).Int("killed", killedIn(set)).Msg("the control plane says what is killed")
	case !was.IsZero() || why != err.Error():
		p.log.Warn().Err(err).Msg("the control plane does not say what is killed: what it said last is in force")
	}
}

// close says good-bye: nobody need expect this processor.
func (k *kills) close() {
	if k.enforced == nil {
		return
	}
	k.stop()
	<-k.ended
	k.enforced.Close()
	if k.trusted != nil {
		k.trusted.Close()
	}
}

func killedIn(set *kill.Set) (n int) {
	for _, s := range set.All() {
		if s.Killed {
			n++
		}
	}
	return n
}

// inForce is what reports say of kills; nil: there are none.
func (k *kills) inForce() func() signals.InForce {
	if k.live == nil {
		return nil
	}
	var mu sync.Mutex
	var last *kill.Set
	mark := compile.KillsOf(nil).Enforced
	return func() signals.InForce {
		set, changed := k.live.Load()
		mu.Lock()
		if set != last {
			last, mark = set, compile.KillsOf(set).Enforced
		}
		now := signals.InForce{Set: mark, Changed: changed}
		mu.Unlock()
		if killedIn(set) > 0 {
			now.Stops = func(route, model, version string) bool { return set.Of(route, model, version, time.Time{}).Killed }
		}
		return now
	}
}

// KillStatus says, in /readyz, what a processor enforces.
type KillStatus struct {
	// Known: somebody has said what is killed. Where not, the processor serves all
	// the same, as its proxies do that have routes, and enforces nothing.
	Known bool `json:"known"`
	// Killed counts the targets that are, and Generation all changes so far.
	Killed     int    `json:"killed"`
	Generation uint64 `json:"generation"`
	// Lost is since when the control plane does not say any more what is killed, and
	// Problem why; absent: it does. What it said last is in force.
	Lost    time.Time `json:"lost,omitzero"`
	Problem string    `json:"problem,omitempty"`
	// Unsaved is why a restart without the control plane would not know of it.
	Unsaved string `json:"unsaved,omitempty"`
}

// firstWord is how long a processor that was told nothing yet is not ready: by then
// it has found a control plane, or there is none.
const firstWord = 3 * time.Second

// status is what /readyz tells; nil: nobody can kill. waits: there is more to come.
func (k *kills) status() (s *KillStatus, waits bool) {
	if k.live == nil {
		return nil, false
	}
	set, _ := k.live.Load()
	s = &KillStatus{Known: true, Killed: killedIn(set), Generation: set.Generation()}
	if k.enforced == nil {
		return s, false
	}
	s.Known = k.enforced.Known()
	if err := k.enforced.Unsaved(); err != nil {
		s.Unsaved = err.Error()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Lost, s.Problem = k.lost, k.why
	return s, !s.Known && time.Since(k.began) < firstWord
}

// gauges are what /metrics tells.
func (k *kills) gauges() (killed, generation, lost float64) {
	s, _ := k.status()
	if s == nil {
		return 0, 0, 0
	}
	if !s.Lost.IsZero() {
		lost = time.Since(s.Lost).Seconds()
	}
	return float64(s.Killed), float64(s.Generation), lost
}

// name is the first of the names in our certificate by which a control plane knows
// us; empty: there is no certificate, or no name in it.
func (f TLSFiles) name() (string, error) {
	if !f.set() {
		return "", nil
	}
	c, err := f.read()
	if err != nil {
		return "", err
	}
	leaf := c.Certificates[0].Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(c.Certificates[0].Certificate[0]); err != nil {
			return "", fmt.Errorf("--tls-cert %s: %w", f.Cert, err)
		}
	}
	switch {
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String(), nil
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0], nil
	case leaf.Subject.CommonName != "":
		return leaf.Subject.CommonName, nil
	}
	return "", errors.New("--tls-cert has no name in it: want a URI, a DNS name or a common name, by which the control plane knows this processor")
}
