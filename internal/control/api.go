package control

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
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
	// Backup writes all of the store's content to somebody, and notes that.
	Backup func(context.Context, audit.Actor, io.Writer) error
	// Troubles are what else is not well with this process; nil: nothing is.
	Troubles func() []admin.Trouble
}

// NewAPI makes the API of a control plane.
func NewAPI(c *Control, o APIOptions) *API { return &API{c, o} }

// Status implements admin.Control.
func (a *API) Status(ctx context.Context) (admin.Status, error) {
	c := a.control
	now := time.Now().UTC()
	out := admin.Status{
		Now: now, Replica: c.o.Replica, Build: a.o.Build, Configuration: a.o.Configuration(),
		Store: admin.Store{Engine: a.o.Engine}, Proxies: c.proofs.everyProxy(c.register.seen), Policies: c.policyList(), Troubles: c.troubles(),
	}
	if a.o.Troubles != nil {
		out.Troubles = append(out.Troubles, a.o.Troubles()...)
	}
	if leader, err := c.o.Store.Leader(ctx, leaderName); err == nil {
		replica, _ := splitLeader(leader)
		out.Leader = admin.Leader{Replica: replica, Self: replica == c.o.Replica}
	}
	out.Store.Problem, out.Store.Since = c.noted.trouble()
	out.Store.Well = out.Store.Problem == ""
	for _, s := range c.kills.set().All() {
		if k := admin.KillStateOf(s, now); k.Killed || k.Percent < 100 {
			out.Kills = append(out.Kills, k)
		}
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
	m := c.model(name)
	if m != nil {
		in = c.input(m, state)
	}
	var last *release.Record
	if len(state.Outbox) > 0 {
		last = &state.Outbox[len(state.Outbox)-1]
	}
	out := admin.ModelOf(state, in, last, now)
	if err := c.refused().err; err != nil {
		out.Unpublished = err.Error()
	}
	if m == nil && c.snapshot() != nil {
		out.Gone, out.Needs, out.Explanation = true, nil, nil
	}
	return out
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

// gone is what a command fails with for a model that the files do not have.
func (a *API) gone(model string) error {
	why := "there is no model " + model
	if slices.Contains(a.control.names(), model) {
		why = "the files do not have the model " + model + " any more"
	}
	return admin.NotFound("%s", why).Hinted("want one of %s", strings.Join(sortedKeys(a.control.inFiles()), ", "))
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
	if q.Model == "" && q.Policy == "" {
		out.Proxies = a.control.register.history(limit)
	}
	slices.SortStableFunc(out.Policies, func(x, y admin.PolicyRecord) int { return y.At.Compare(x.At) })
	out.Policies = out.Policies[:min(len(out.Policies), limit)]
	var err error
	out.Records, err = a.control.newest(ctx, models, limit)
	return out, err
}

// Backup implements admin.Control.
func (a *API) Backup(ctx context.Context, to audit.Actor, w io.Writer) error {
	return a.o.Backup(ctx, to, w)
}
