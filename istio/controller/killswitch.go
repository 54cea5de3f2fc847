package controller

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/kill"
)

// Kills are what KillSwitches act on: the same kills as those of the command. They are
// safe for concurrent use.
type Kills interface {
	Kill(ctx context.Context, t kill.Target, o kill.Order) (kill.State, error)
	// Revive fails where who wrote the object has to be known.
	Revive(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error)
	// State is how a target stands.
	State(t kill.Target) kill.State
	// Proof looks once at what is proven of all kills that are in force.
	Proof() Proof
}

// Proof is what is proven of all kills that are in force: how many of those that are
// expected show them.
type Proof struct {
	Expected, Proven int
	Missing          string // who does not
	// Heard are the targets that requests of any proxy have met lately. Of the others no
	// proxy has shown anything.
	Heard map[kill.Target]bool
}

// how is that by which the API server knows who wrote an object: its own.
const how = "Kubernetes"

// wish is what a KillSwitch asks for.
type wish struct {
	object *v1alpha1.KillSwitch
	target kill.Target
	mode   kill.Mode
	wrong  error // it asks for nothing that could be done
}

// wishOf reads a KillSwitch; own is safestate's namespace.
func wishOf(k *v1alpha1.KillSwitch, own string) wish {
	w := wish{object: k}
	if w.target, w.wrong = targetOf(k, own); w.wrong == nil {
		w.mode, w.wrong = modeOf(k.Spec.Mode)
	}
	return w
}

// order is the kill that is due, given how the target stands. It has an id of its own,
// so that it is one however often the object is read, and one that a person has revived
// since does not come back with a restart: what is killed already, or was revived, is
// killed anew only where it is killed and the object's mode has changed since its last
// order.
func (w *wish) order(s *kill.State) (id string, due bool) {
	orders := "killswitch/" + string(w.object.UID) + "/"
	id = fmt.Sprintf("%s%d/%s", orders, w.object.Generation, w.mode)
	for _, last := range slices.Backward(s.Seen) {
		if strings.HasPrefix(last, orders) {
			return id, s.Killed && path.Base(last) != string(w.mode)
		}
	}
	return id, w.object.Status.Generation == 0
}

// revive is the revive that is due.
func (w *wish) revive(s *kill.State) (r kill.Request, due bool) {
	asked := w.object.Spec.Revive
	if asked == nil || !s.Killed || uint64(asked.Generation) != s.Generation {
		return r, false
	}
	r = kill.Request{By: w.by(), How: how, Reason: asked.Reason, Generation: s.Generation}
	if asked.Ramp != nil {
		r.Ramp = asked.Ramp.Duration
	}
	return r, true
}

func (w *wish) by() string { return "KillSwitch " + w.object.Namespace + "/" + w.object.Name }

// targetOf is what a KillSwitch stops. Everything everywhere is stopped from
// safestate's own namespace alone: whoever may write there administers it.
func targetOf(k *v1alpha1.KillSwitch, own string) (kill.Target, error) {
	t := &k.Spec.Target
	var out kill.Target
	switch t.Scope {
	case v1alpha1.ScopeAll:
		if k.Namespace != own {
			return out, fmt.Errorf("scope All stops every namespace: want it in namespace %s", own)
		}
		return kill.Everything, nil
	case v1alpha1.ScopeRoute:
		out = kill.ForRoute(k.Namespace + "/" + t.Route + "/" + t.Rule)
	case v1alpha1.ScopeModel:
		out = kill.ForModel(k.Namespace + "/" + t.Model)
	case v1alpha1.ScopeVersion:
		out = kill.ForVersion(k.Namespace+"/"+t.Model, t.Version)
	default:
		return out, fmt.Errorf("scope %q is none; want All, Route, Model or Version", t.Scope)
	}
	return out, out.Validate()
}

func modeOf(m v1alpha1.KillMode) (kill.Mode, error) {
	switch m {
	case "", v1alpha1.KillDegrade:
		return kill.Degrade, nil
	case v1alpha1.KillDefault:
		return kill.Default, nil
	case v1alpha1.KillBlackhole:
		return kill.Blackhole, nil
	}
	return "", fmt.Errorf("mode %q is none; want Degrade, Default or Blackhole", m)
}

// killStatus is what a KillSwitch's status is to be; a nil state leaves how the target
// stands as it is.
func (w *wish) killStatus(s *kill.State, conditions ...metav1.Condition) *v1alpha1.KillSwitchStatus {
	next := w.object.Status.DeepCopy()
	next.ObservedGeneration = w.object.Generation
	if s != nil {
		since := metav1.NewTime(s.Since.Truncate(time.Second))
		next.Generation, next.Killed, next.Since = int64(s.Generation), s.Killed, &since
	}
	for _, one := range conditions {
		one.ObservedGeneration = w.object.Generation
		setCondition(&next.Conditions, one)
	}
	return next
}

// carriedOut is the condition Accepted of what is in force.
func (w *wish) carriedOut(s *kill.State) metav1.Condition {
	c := condition(accepted, metav1.ConditionTrue, "Accepted", "")
	if r := w.object.Spec.Revive; r != nil && s.Killed && uint64(r.Generation) != s.Generation {
		c.Message = fmt.Sprintf("its revive names generation %d and it is killed at %d: want that, once you know why", r.Generation, s.Generation)
	} else if s.Killed && s.Mode != w.mode {
		c.Message = shortNote(fmt.Sprintf("%s has killed it since, with mode %s: %s", s.By, s.Mode, s.Reason))
	}
	return c
}

// applied is the condition Applied of a target, given which routes a kill of it does not
// reach, and which cannot carry it.
func (w *wish) applied(s *kill.State, p *Proof, beyond, uncarried []string) metav1.Condition {
	not := func(reason, message string) metav1.Condition {
		return condition("Applied", metav1.ConditionFalse, reason, shortNote(message))
	}
	if !s.Killed {
		return not("NotKilled", "it is not killed")
	}
	shows := fmt.Sprintf("%d of %d show it", p.Proven, p.Expected)
	switch {
	case len(beyond) > 0:
		return not("OutOfReach", shows+"; it does not reach "+strings.Join(beyond, "; "))
	case len(uncarried) > 0:
		return not("NotCarried", shows+"; it is not carried by "+strings.Join(uncarried, "; "))
	case p.Proven < p.Expected:
		return not("Unproven", shows+"; not "+p.Missing)
	case !p.Heard[w.target]:
		return condition("Applied", metav1.ConditionUnknown, "Unheard", shows+"; no proxy is among them: none had requests lately that it would stop")
	}
	return condition("Applied", metav1.ConditionTrue, "Proven", shows)
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// uncarried says of which routes the proxies cannot carry what is decided of a target.
func (c *Controller) uncarried() func(kill.Target) []string {
	c.writer.mu.Lock()
	refused := maps.Clone(c.writer.refused)
	c.writer.mu.Unlock()
	unwritten, _ := c.writer.queue.unwritten()
	if refused == nil {
		refused = unwritten
	}
	maps.Copy(refused, unwritten)
	c.status.mu.Lock()
	loaded := c.status.loaded
	c.status.mu.Unlock()
	if len(refused) == 0 || loaded == nil {
		return func(kill.Target) []string { return nil }
	}
	targets := loaded.Snapshot.KillTargets()
	return func(t kill.Target) (out []string) {
		for _, route := range slices.Sorted(maps.Keys(refused)) {
			if slices.Contains(targets[route], t) {
				out = append(out, route+": "+refused[route].Error())
			}
		}
		return out
	}
}
