package control

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signing"
)

// What proxies are to have is made here, of the files, the releases and the kills:
// one configuration for all. c.publishing is held from the making of it to the note of
// what became of it, so that of two the later one's is noted last.

// publishNow publishes what holds. Where that fails it is tried again, with every
// round and by every replica.
func (c *Control) publishNow() {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	c.mu.Lock()
	c.unpublished = false // what is decided from now on is to be published after this
	c.mu.Unlock()
	err := c.render(c.snapshot(), xds.AtOnce)
	c.mu.Lock()
	again := c.refusal.err != nil
	if err != nil {
		c.unpublished = true
		c.refusal.happens(err)
	} else {
		c.refusal = fault{}
	}
	c.mu.Unlock()
	if err != nil && !again {
		c.o.Log.Error().Err(err).Msg("what was decided cannot be published, the last good configuration stays, without what is killed")
	}
}

// publishLater has what holds published at the end of the round.
func (c *Control) publishLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unpublished = true
}

func (c *Control) isUnpublished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unpublished
}

// refused is why what holds cannot be published.
func (c *Control) refused() fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusal
}

// publishFiles is publishNow by other files, which are those in use only where it
// succeeds.
func (c *Control) publishFiles(s *compile.Snapshot) error {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	if err := c.render(s, xds.Coalesced); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.refusal = s, fault{}
	c.remember(s)
	return nil
}

// wanted is what the proxies are to have.
type wanted struct {
	files    *compile.Snapshot
	releases map[string]compile.Release
	signer   *signing.Signer // nil: policies are not signed
	kills    *kill.Set
	keys     []signing.Public // that hosts are to trust
}

func (c *Control) wanted(files *compile.Snapshot, states map[string]release.State) wanted {
	w := wanted{files, map[string]compile.Release{}, c.signer(), c.kills.set(), c.trusted()}
	external := externalOf(files)
	for model, state := range states {
		if !external[model] {
			w.releases[model] = releaseOf(&state)
		}
	}
	return w
}

// rendered is what the proxies were handed last.
type rendered struct {
	wanted
	resources *envoy.Resources
	version   string
	until     time.Time // when a ramp goes on; zero: none does
}

// is reports whether that is what they are to have.
func (r *rendered) is(w *wanted, now time.Time) bool {
	return r.files == w.files && r.signer == w.signer && !r.outdated(w.kills, now) &&
		slices.EqualFunc(r.keys, w.keys, signing.Public.Equal) && reflect.DeepEqual(r.releases, w.releases)
}

// outdated reports whether other kills hold, or more of a ramp.
func (r *rendered) outdated(kills *kill.Set, now time.Time) bool {
	return r.kills != kills || !r.until.IsZero() && !now.Before(r.until)
}

// render hands the proxies what files, releases and kills make, unless they have it.
// Where that cannot be made the kills are handed to them all the same, by what they
// have. c.publishing is held, and c.mu is not: it takes its time.
func (c *Control) render(files *compile.Snapshot, how xds.Urgency) error {
	if files == nil {
		return nil
	}
	states, at := c.book.all(), time.Now()
	w := c.wanted(files, states)
	if !c.rendered.is(&w, at) {
		var err error
		if at, err = c.hand(&w, how); err != nil {
			return errors.Join(err, c.handKills(w))
		}
	}
	c.proofs.published(c.rendered.version, states, at)
	return nil
}

// hand makes the configuration and gives it to the proxies, just after at.
func (c *Control) hand(w *wanted, how xds.Urgency) (at time.Time, err error) {
	if c.o.Mesh != nil {
		return c.handMesh(w, how)
	}
	now := time.Now()
	snapshot := w.files.WithReleases(w.releases).WithKills(w.kills, now)
	resources, err := envoy.RenderUnchecked(snapshot, signedBy(w.signer, c.o.Envoy))
	if err != nil {
		return at, err
	}
	if resources.Runtimes, err = Runtimes(w.kills, w.keys); err != nil {
		return at, err
	}
	at = time.Now()
	if err := c.o.XDS.Set(resources, how); err != nil {
		return at, err
	}
	c.rendered = rendered{*w, resources, resources.Version(), rampStep(w.kills, now)}
	c.handed.Store(&handedKeys{c.rendered.version, w.keys})
	c.killProofs.expect(snapshot.Kills, !w.kills.Empty(), c.rendered.version)
	return at, nil
}

// handKills gives the proxies the kills that hold now with the files and releases that
// they have: what is wrong with one model keeps no other from being killed. Where not
// even that can be made the hosts are told.
func (c *Control) handKills(w wanted) error {
	last := &c.rendered
	if last.files == nil || !last.outdated(w.kills, time.Now()) {
		return nil
	}
	w.files, w.releases = last.files, last.releases
	at, err := c.hand(&w, xds.AtOnce)
	if err != nil {
		at = time.Now()
		err = errors.Join(fmt.Errorf("what is killed cannot be published either: %w", err), c.handHosts(&w))
	}
	c.proofs.published(c.rendered.version, nil, at)
	return err
}

// handHosts tells the hosts that run apart what is killed; the proxies keep what they
// have.
func (c *Control) handHosts(w *wanted) (err error) {
	resources := *c.rendered.resources
	if resources.Runtimes, err = Runtimes(w.kills, w.keys); err != nil {
		return err
	}
	if err := c.o.XDS.Set(&resources, xds.AtOnce); err != nil {
		return err
	}
	c.rendered.version = resources.Version()
	return nil
}
