package serve

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/extproc"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/signing/keyring"
	"github.com/safestate/safestate/internal/strictyaml"
)

// Where the keys come from by which the processor verifies policies.
const (
	keysOfFile   = "--policy-keys"
	keysOfStore  = "store"
	keysOfSigner = "--signing-key"
)

// strict reports whether the processor is to refuse unsigned policies: others than
// this machine can dial it.
func (o *Options) strict() bool { return onlyLocal("--grpc", o.GRPC) != nil }

// checkKeys finds what contradicts itself, and a processor that would refuse every
// policy for ever.
func (o *Options) checkKeys() error {
	signs := o.Role.controls() && (!o.NoReleases || o.SigningKey != "")
	switch {
	case o.SigningKey != "" && !o.Role.controls():
		return errors.New("--signing-key is for who configures the proxies: leave it out with --role extproc")
	case o.SigningKey != "" && !o.NoReleases:
		return errors.New("--signing-key goes with --no-releases: else the keys are kept in the store, see safestate keys")
	case o.KeyAge != 0 && (o.NoReleases || !o.Role.controls()):
		return errors.New("--policy-key-age is for who keeps the keys in a store: leave it out with --no-releases and --role extproc")
	case o.KeyAge < 0 || o.KeyAge > 0 && o.KeyAge < leastKeyAge:
		return fmt.Errorf("--policy-key-age is %s: want 0 (never), or at least %s", o.KeyAge, leastKeyAge)
	case o.Role.processes() && o.strict() && !signs && o.PolicyKeys == "" && !o.vouched():
		return fmt.Errorf("--grpc %s can be dialled by other machines, so policies have to be signed, and nothing says by whom: "+
			"want --policy-keys FILE with what safestate keys list --pem prints, --control with --tls-cert, which says whose to take, or a loopback address", o.GRPC)
	}
	return nil
}

// leastKeyAge is longer than a rotation takes.
const leastKeyAge = time.Hour

// recheckKeys is how often the files of keys are looked at.
const recheckKeys = time.Second

// keyFile is --policy-keys, and what was last read of it.
type keyFile struct {
	path   string
	keys   *signing.Keys
	digest [sha256.Size]byte // zero: nothing was read
}

// read takes over what the file has, where it has changed. An error leaves the
// last good keys.
func (f *keyFile) read() (news bool, err error) {
	text, err := strictyaml.Read(f.path)
	if err != nil {
		return false, fmt.Errorf("--policy-keys: %w", err)
	}
	digest := sha256.Sum256(text)
	if digest == f.digest {
		return false, nil
	}
	public, err := signing.ParsePublic(text)
	if err != nil {
		return false, fmt.Errorf("--policy-keys %s: %w", f.path, err)
	}
	f.digest = digest
	f.keys.Set(keysOfFile, public...)
	return true, nil
}

// followKeys reads --policy-keys, now and whenever it changes, until ctx ends.
func (p *process) followKeys(ctx context.Context) error {
	if p.options.PolicyKeys == "" {
		return nil
	}
	f := &keyFile{path: p.options.PolicyKeys, keys: p.keys}
	if _, err := f.read(); err != nil {
		return err
	}
	go func() {
		tick := time.NewTicker(recheckKeys)
		defer tick.Stop()
		told := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			news, err := f.read()
			if err == nil {
				told = ""
			} else if told != err.Error() {
				told = err.Error()
				p.log.Error().Err(err).Msg("renewed keys of policies cannot be used, the last good ones stay")
			}
			if news {
				p.log.Info().Strs("accepted", p.keys.Current().IDs()).Msg("keys of policies read again")
			}
		}
	}()
	return nil
}

// openRing opens the keys in the store, and has this process's processor go by
// them.
func (pl *plane) openRing(ctx context.Context) (err error) {
	p := pl.p
	pl.ring, err = keyring.Open(ctx, keyring.Options{
		Store: pl.store, Replica: p.options.Replica, DataDir: p.options.DataDir, Age: p.options.KeyAge, Log: p.log, Noted: pl.rotated,
		Trust: func(keys ...signing.Public) {
			p.keys.Set(keysOfStore, keys...)
			pl.trusted.Store(&keys)
		},
		Hosts: func(keyID string) []string {
			if rules := pl.handing.Load(); rules != nil {
				return rules.HostsWithout(keyID)
			}
			return nil
		},
	})
	if err == nil {
		p.metrics.PolicyKeys(func() (key, rotation time.Duration) { return pl.ring.Ages(time.Now()) })
	}
	return err
}

// public are the keys that hosts elsewhere are to trust: those of the store, or of
// --signing-key.
func (pl *plane) public() []signing.Public {
	if keys := pl.trusted.Load(); keys != nil {
		return *keys
	}
	return nil
}

// runRing follows the store, and has policies published anew when another key
// signs.
func (pl *plane) runRing(ctx context.Context) {
	pl.ring.Run(ctx, keyring.Hooks{Changed: pl.rules.Resign, Published: func() (out keyring.Published) {
		out.KeyID, out.Lacking = pl.rules.Signed()
		return out
	}})
}

// signed are the options of a configuration that is signed by --signing-key, which
// is read each time: another key is in use from then on, and the one before it is
// still accepted here.
func (pl *plane) signed(o envoy.Options) (envoy.Options, error) {
	path := pl.p.options.SigningKey
	if path == "" {
		return o, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return o, fmt.Errorf("--signing-key: %w", err)
	}
	key, err := signing.ParsePrivate(text)
	if err != nil {
		return o, fmt.Errorf("--signing-key %s: %w", path, err)
	}
	if was := pl.signer; was.KeyID() != key.Public().ID {
		pl.signer = signing.NewSigner(key)
		accepted := []signing.Public{key.Public()}
		if was != nil {
			accepted = append(accepted, was.Public())
		}
		pl.p.keys.Set(keysOfSigner, accepted...)
		pl.trusted.Store(&accepted)
	}
	o.Sign = pl.signer.Sign
	return o, nil
}

// longRotation is longer than one takes for which everybody is there.
const longRotation = time.Hour

// recent is how long a refused policy is told of.
const recent = 5 * time.Minute

// troubles are what is not well with this process's processor, and its keys.
func (p *process) troubles() (out []admin.Trouble) {
	for _, r := range p.refusals() {
		if time.Since(r.Last) < recent {
			out = append(out, admin.Trouble{
				Level: admin.LevelProblem, About: "route " + r.Route, Since: r.Last,
				What: fmt.Sprintf("policies are refused, %d times so far, and Envoy does what the route says for a processor that is away: %s", r.Count, r.Error),
			})
		}
	}
	if p.plane == nil || p.plane.ring == nil {
		return out
	}
	now := time.Now()
	if _, rotation := p.plane.ring.Ages(now); rotation > longRotation {
		out = append(out, admin.Trouble{
			Level: admin.LevelNotice, About: "keys of policies", Since: now.Add(-rotation),
			What: "a rotation is under way: " + p.plane.ring.State().Waiting,
		})
	}
	return out
}

func (p *process) refusals() []extproc.Refusal {
	if p.host == nil {
		return nil
	}
	return p.host.processor.Refusals()
}

// PolicyStatus says, in /readyz, by which keys a processor takes policies.
type PolicyStatus struct {
	// Signed: unsigned ones are refused.
	Signed  bool              `json:"signed"`
	Keys    []string          `json:"keys,omitempty"`    // ids of those that are accepted
	Refused []extproc.Refusal `json:"refused,omitempty"` // since the start, by cause
}

func (p *process) policyStatus() *PolicyStatus {
	if p.host == nil {
		return nil
	}
	return &PolicyStatus{Signed: p.options.strict(), Keys: p.keys.Current().IDs(), Refused: p.refusals()}
}
