package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/policies"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// What people change comes in here, one method for each kind of thing. Each returns
// when the change is durable.

// Command implements admin.Control.
func (a *API) Command(ctx context.Context, model string, c release.Command) (admin.Model, error) {
	_, err := a.control.Do(ctx, model, c)
	if errors.Is(err, ErrNoModel) {
		return admin.Model{}, a.gone(model)
	}
	if mistake := (*mistakenError)(nil); errors.As(err, &mistake) && !errors.Is(err, release.ErrRefused) {
		return admin.Model{}, admin.Invalid("", "%s", err)
	}
	if err != nil {
		return admin.Model{}, err
	}
	return a.model(model, time.Now().UTC()), nil
}

// Policy implements admin.Control.
func (a *API) Policy(ctx context.Context, name string, command admin.PolicyCommand) (admin.Policy, error) {
	c := a.control
	for try := range attempts {
		from := c.policies.get(name)
		if from.state.Current == 0 {
			return admin.Policy{}, admin.NotFound("there is no policy %s", name).Hinted("want one of %s", strings.Join(c.policies.names(), ", "))
		}
		if x := command.Expect; x != 0 && x != uint64(from.state.Current) {
			return admin.Policy{}, admin.Conflict(0, "policy %s is at number %d and not at %d any more: look again", name, from.state.Current, x)
		}
		state := c.policies.counted(name, from.state)
		var (
			next policies.State
			err  error
		)
		switch command.Do {
		case admin.PolicyRollback:
			next, err = policies.Rollback(state, int(command.To), command.By, command.Reason, time.Now())
		case admin.PolicyUnpin:
			next, err = policies.Unpin(state, command.By, command.Reason, time.Now())
		default:
			err = fmt.Errorf("%q is nothing that can be done to a policy", command.Do)
		}
		if err != nil {
			return admin.Policy{}, admin.Conflict(0, "%s", err)
		}
		e := policyEntry(name, &from.state, &next, audit.Actor{Name: command.By, How: command.How, Address: command.Address})
		if try == 0 {
			c.begin(e)
		}
		err = c.putPolicy(ctx, name, from, next)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err == nil {
			err = c.note(e)
		}
		if err != nil {
			return admin.Policy{}, err
		}
		c.o.Reload()
		return c.policyOf(name, next), nil
	}
	return admin.Policy{}, admin.Conflict(0, "the policy changes all the time: try again")
}

// Deregister implements admin.Control.
func (a *API) Deregister(ctx context.Context, node string, d admin.Deregistration) error {
	c := a.control
	if err := c.expected(node); err != nil {
		return err
	}
	record := admin.ProxyRecord{Node: node, At: time.Now().UTC(), Kind: "deregistered", By: d.By, Reason: d.Reason}
	e := audit.Entry{
		Kind: audit.KindDeregistration, Happened: record.At, Actor: audit.Actor{Name: d.By, How: d.How, Address: d.Address}, Target: "proxy/" + node, Reason: d.Reason,
	}
	c.begin(e)
	if err := c.register.deregister(ctx, record); err != nil {
		return err
	}
	if err := c.note(e); err != nil {
		return err
	}
	if err := c.o.XDS.Deregister(node); err != nil {
		return admin.Conflict(0, "%s", err) // it has come back this very moment
	}
	c.o.Log.Warn().Str("node", node).Str("by", d.By).Str("reason", d.Reason).Msg("a proxy is expected no more")
	c.proofs.renew()
	c.stir()
	return nil
}

// expected says why a proxy cannot be taken out of those that are expected: it is
// connected, or nobody knows it.
func (c *Control) expected(node string) error {
	var silent []string
	known := !c.register.seen(node).IsZero()
	all := append(c.proofs.everyProxy(c.register.seen).Proxies, c.processors()...)
	for i := range all {
		x := &all[i]
		switch {
		case x.Node == node && x.Connected:
			return admin.Conflict(0, "proxy %q is connected to replica %s: stop it first, or it is expected again at once", node, x.Replica)
		case x.Node == node:
			known = true
		case !x.Connected:
			silent = append(silent, x.Node)
		}
	}
	if known {
		return nil
	}
	slices.Sort(silent)
	hint := "no proxy is silent"
	if len(silent) > 0 {
		hint = "these are silent: " + strings.Join(silent[:min(len(silent), 10)], ", ")
	}
	return admin.NotFound("there is no proxy %q", node).Hinted("%s", hint)
}
