package control

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// API is what the HTTP API stands on.
type API struct {
	control *Control
	o       APIOptions
}

// APIOptions are what the API tells beside what the control plane knows.
type APIOptions struct {
	Build  string // of safestate
	Engine string // of the store, for people
	// Configuration is how the configuration folder is.
	Configuration func() admin.Configuration
	// Backup writes all of the store's content.
	Backup func(context.Context, io.Writer) error
}

// NewAPI makes the API of a control plane.
func NewAPI(c *Control, o APIOptions) *API { return &API{c, o} }

// Status implements admin.Control.
func (a *API) Status(ctx context.Context) (admin.Status, error) {
	c := a.control
	now := time.Now().UTC()
	out := admin.Status{
		Now: now, Replica: c.o.Replica, Build: a.o.Build, Configuration: a.o.Configuration(),
		Store: admin.Store{Engine: a.o.Engine}, Proxies: c.proofs.proxies(), Policies: c.policyList(),
	}
	leader, err := c.o.Store.Leader(ctx, leaderName)
	out.Store.Well = err == nil || isNotFound(err)
	if err == nil {
		replica, _ := splitLeader(leader)
		out.Leader = admin.Leader{Replica: replica, Self: replica == c.o.Replica}
	} else if !isNotFound(err) {
		out.Store.Problem = err.Error()
	}
	for _, model := range c.names() {
		out.Models = append(out.Models, a.model(model, now))
	}
	return out, nil
}

// names are the models of the files and of the store, in order.
func (c *Control) names() []string {
	names := map[string]bool{}
	if s := c.snapshot(); s != nil {
		for i := range s.Models {
			names[s.Models[i].Name] = true
		}
	}
	for name := range c.book.all() {
		names[name] = true
	}
	return sortedKeys(names)
}

func (a *API) model(name string, now time.Time) admin.Model {
	c := a.control
	state := c.book.get(name).state
	var in release.Input
	if m := c.model(name); m != nil {
		in = c.input(m, state)
	}
	var last *release.Record
	if len(state.Outbox) > 0 {
		last = &state.Outbox[len(state.Outbox)-1]
	}
	return admin.ModelOf(state, in, last, now)
}

// Model implements admin.Control.
func (a *API) Model(_ context.Context, model string) (admin.Model, error) {
	if !slices.Contains(a.control.names(), model) {
		return admin.Model{}, a.unknown(model)
	}
	return a.model(model, time.Now().UTC()), nil
}

func (a *API) unknown(model string) error {
	return admin.NotFound("there is no model %s", model).Hinted("want one of %s", strings.Join(a.control.names(), ", "))
}

// History implements admin.Control.
func (a *API) History(ctx context.Context, q admin.HistoryQuery) (admin.History, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = admin.DefaultLimit
	}
	out := admin.History{Records: []release.Record{}, Policies: []admin.PolicyRecord{}}
	var models []string
	switch {
	case q.Model != "" && !slices.Contains(a.control.names(), q.Model):
		return out, a.unknown(q.Model)
	case q.Model != "":
		models = []string{q.Model}
	case q.Policy == "":
		models = a.control.names()
	}
	if q.Model == "" {
		out.Policies = a.control.policyHistory(q.Policy)
	}
	for _, model := range models {
		records, err := a.control.History(ctx, model, limit)
		if err != nil {
			return out, err
		}
		out.Records = append(out.Records, records...)
	}
	slices.SortStableFunc(out.Policies, func(x, y admin.PolicyRecord) int { return y.At.Compare(x.At) })
	out.Policies = out.Policies[:min(len(out.Policies), limit)]
	slices.SortStableFunc(out.Records, func(x, y release.Record) int { return y.At.Compare(x.At) })
	out.Records = out.Records[:min(len(out.Records), limit)]
	return out, nil
}

// Command implements admin.Control.
func (a *API) Command(ctx context.Context, model string, c release.Command) (admin.Model, error) {
	_, err := a.control.Do(ctx, model, c)
	if errors.Is(err, ErrNoModel) {
		return admin.Model{}, a.unknown(model)
	}
	if mistake := (*mistakenError)(nil); errors.As(err, &mistake) && !errors.Is(err, release.ErrRefused) {
		return admin.Model{}, admin.Invalid("", "%s", err)
	}
	if err != nil {
		return admin.Model{}, err
	}
	return a.model(model, time.Now().UTC()), nil
}

// Backup implements admin.Control.
func (a *API) Backup(ctx context.Context, w io.Writer) error { return a.o.Backup(ctx, w) }
