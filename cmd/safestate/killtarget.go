package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
)

// killTarget is what a command stops or gives back, as it is named on the command
// line.
type killTarget struct {
	route string
	all   bool
}

func (t *killTarget) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.route, "route", "", "a rule of a route in the place of a model: NAMESPACE/ROUTE/RULE")
	cmd.Flags().BoolVar(&t.all, "all", false, "everything: every model on every route")
}

// keys are those of the target: one, or where nobody knows what "a/b" is, a version or
// a model, both.
func (t *killTarget) keys(ctx context.Context, r *remote, c *admin.Client, args []string) ([]string, error) {
	named := 0
	for _, is := range []bool{t.route != "", t.all, len(args) > 0} {
		if is {
			named++
		}
	}
	if named != 1 {
		return nil, errors.New("want one of MODEL[/VERSION], --route and --all")
	}
	switch {
	case t.all:
		return checkedTarget(kill.Everything)
	case t.route != "":
		return checkedTarget(kill.ForRoute(t.route))
	}
	arg := args[0]
	for _, scope := range kill.Scopes() { // a key, as other commands print it
		if strings.HasPrefix(arg, string(scope)+"/") && strings.Count(arg, "/") > 1 || arg == string(kill.All) {
			if key, err := kill.ParseKey(arg); err == nil {
				return []string{key.Key()}, nil
			}
		}
	}
	switch strings.Count(arg, "/") {
	case 0:
		return checkedTarget(kill.ForModel("default/" + arg))
	case 1:
		return whichTarget(ctx, r, c, arg)
	default:
		return checkedTarget(kill.Target{Scope: kill.Version, Name: arg})
	}
}

// key is the one key of a target that is killed.
func (t *killTarget) key(ctx context.Context, r *remote, c *admin.Client, args []string) (string, error) {
	keys, err := t.keys(ctx, r, c, args)
	if err != nil {
		return "", err
	}
	if len(keys) > 1 {
		return "", unknownTarget(args[0], keys)
	}
	return keys[0], nil
}

func unknownTarget(arg string, keys []string) error {
	return fmt.Errorf("nothing is known of %q: want %s", arg, strings.Join(keys, " or "))
}

func checkedTarget(t kill.Target) ([]string, error) { return []string{t.Key()}, t.Validate() }

// lookUp is how long the server has to say what "a/b" is: who kills is in a hurry.
const lookUp = 3 * time.Second

// whichTarget says whether "a/b" is the model b of the namespace a, or the version b
// of the model default/a.
func whichTarget(ctx context.Context, r *remote, c *admin.Client, arg string) ([]string, error) {
	first, second, _ := strings.Cut(arg, "/")
	model, version := kill.ForModel(arg), kill.ForVersion("default/"+first, second)
	if err := errors.Join(model.Validate(), version.Validate()); err != nil {
		return nil, err
	}
	both := []string{version.Key(), model.Key()}
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	is, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.Status], error) { return c.Status(ctx) })
	if err != nil {
		return nil, fmt.Errorf("%q may be %s, and which is not known: say it in the place of %s (%w)", arg, strings.Join(both, " or "), arg, err)
	}
	var found []string
	for i := range is.Value.Models {
		m := &is.Value.Models[i]
		if m.Model == arg {
			found = append(found, model.Key())
		}
		if m.Model == "default/"+first && slices.ContainsFunc(m.Versions, func(v admin.Version) bool { return v.Name == second }) {
			found = append(found, version.Key())
		}
	}
	kills, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.KillList], error) { return c.Kills(ctx) })
	if err == nil {
		for _, k := range kills.Value.Kills {
			if slices.Contains(both, k.Target) && !slices.Contains(found, k.Target) {
				found = append(found, k.Target)
			}
		}
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		return both, nil
	default:
		return nil, fmt.Errorf("%q may be %s: say which, in the place of %s", arg, strings.Join(found, " or "), arg)
	}
}

// kill asks for the first of the keys that the server knows. Without files it knows
// none, and takes any.
func (r *remote) kill(cmd *cobra.Command, c *admin.Client, request *admin.KillRequest, keys, args []string) (a admin.Answer[admin.Killed], err error) {
	var p *admin.Problem
	for _, key := range keys {
		request.Target = key
		a, err = asking(cmd.Context(), r, func(ctx context.Context) (admin.Answer[admin.Killed], error) { return c.Kill(ctx, *request) })
		if !errors.As(err, &p) || p.Status != http.StatusNotFound || len(keys) == 1 {
			break
		}
		err = unknownTarget(args[0], keys)
	}
	if err == nil && len(keys) > 1 {
		fmt.Fprintf(cmd.ErrOrStderr(), "nothing was known of %q: it was taken as %s, and may be one of %s\n", args[0], request.Target, strings.Join(keys, ", "))
	}
	return a, err
}
