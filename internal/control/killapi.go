package control

import (
	"context"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
)

// Kills implements admin.Control.
func (a *API) Kills() []kill.State { return a.control.kills.set().All() }

// KillProof implements admin.Control.
func (a *API) KillProof(t kill.Target) admin.KillProof { return a.control.KillProof(t) }

// Kill implements admin.Control.
func (a *API) Kill(ctx context.Context, t kill.Target, o kill.Order) (admin.Killed, error) {
	state, durability, err := a.control.Kill(ctx, t, o)
	if durability == "" {
		return admin.Killed{}, problemOfKill(err)
	}
	return admin.Killed{State: admin.KillStateOf(state, time.Now().UTC()), Durability: string(durability)}, err
}

// Revive implements admin.Control.
func (a *API) Revive(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	state, err := a.control.Revive(ctx, t, r)
	return state, problemOfKill(err)
}

// Approve implements admin.Control.
func (a *API) Approve(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	state, err := a.control.Approve(ctx, t, r)
	return state, problemOfKill(err)
}

// KillState is how a target stands.
func (c *Control) KillState(t kill.Target) kill.State { return c.kills.get(t).state }
