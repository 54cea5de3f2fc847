package serve

import (
	"context"
	"errors"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/signing/keyring"
)

// keysAPI is the ring as the HTTP API has it: without its private halves.
type keysAPI struct{ ring *keyring.Keyring }

// Keys implements admin.Keyring.
func (k keysAPI) Keys(context.Context) (admin.Keys, error) { return keysOf(k.ring.State()), nil }

// RotateKeys implements admin.Keyring.
func (k keysAPI) RotateKeys(ctx context.Context, r admin.KeyRotation) (admin.Keys, error) {
	state, err := k.ring.Rotate(ctx, signing.Rotation{
		By: r.By, How: r.How, Address: r.Address, Reason: r.Reason, After: r.After, Overlap: r.Overlap, Force: r.Force,
	})
	if errors.Is(err, signing.ErrUnderWay) {
		return admin.Keys{}, admin.Conflict(0, "%s", err).
			Hinted("safestate keys list says what it waits for; with --force it takes its next step whoever is missing")
	}
	return keysOf(state), err
}

func keysOf(s keyring.State) admin.Keys {
	out := admin.Keys{Waiting: s.Waiting}
	for _, k := range []struct {
		key   *signing.Key
		state admin.KeyState
	}{{&s.Ring.Current, admin.KeyCurrent}, {s.Ring.Next, admin.KeyNext}, {s.Ring.Previous, admin.KeyPrevious}} {
		if k.key == nil {
			continue
		}
		public := k.key.Public()
		out.Keys = append(out.Keys, admin.Key{
			ID: public.ID, State: k.state, Made: k.key.Made, Signs: k.key.Signs, Drops: k.key.Drops,
			By: k.key.By, Reason: k.key.Reason, PEM: string(public.PEM()),
		})
	}
	return out
}
