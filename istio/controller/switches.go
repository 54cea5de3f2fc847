package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/kill"
)

// switches have carried out what KillSwitches say, and write how they stand. Each has a
// goroutine of its own: a kill waits for no status, and for nothing else that is written.
// It is safe for concurrent use.
type switches struct {
	wake, revives, told chan struct{}

	namespace string // safestate's own
	leads     func() bool
	list      func(context.Context) ([]*v1alpha1.KillSwitch, error)
	event     func(k *v1alpha1.KillSwitch, kind, reason, text string)
	write     func(context.Context, *v1alpha1.KillSwitch, *v1alpha1.KillSwitchStatus) error
	beyond    func(kill.Target) []string // routes that a kill of it does not reach
	uncarried func() func(kill.Target) []string
	problem   func(error)

	mu      sync.Mutex
	kills   Kills                           // nil: KillSwitches are not acted on
	refused map[types.UID]*metav1.Condition // what of them was not carried out
	said    map[types.UID]map[string]string // the last Event of each reason
}

func newSwitches(c *Controller) *switches {
	return &switches{
		wake: make(chan struct{}, 1), revives: make(chan struct{}, 1), told: make(chan struct{}, 1), namespace: c.o.Namespace, leads: c.leads,
		list: func(ctx context.Context) ([]*v1alpha1.KillSwitch, error) {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return readAll[v1alpha1.KillSwitch](ctx, c, kindKillSwitch)
		},
		event: func(k *v1alpha1.KillSwitch, kind, reason, text string) { c.event(k, kind, reason, "%s", text) },
		write: func(ctx context.Context, k *v1alpha1.KillSwitch, next *v1alpha1.KillSwitchStatus) error {
			return c.writeStatus(ctx, kindKillSwitch, k, k.Status, next)
		},
		beyond:    func(t kill.Target) []string { return outOfReach(c.status.ungranted(), t) },
		uncarried: c.uncarried, problem: c.o.Problem,
		refused: map[types.UID]*metav1.Condition{}, said: map[types.UID]map[string]string{},
	}
}

// stir has KillSwitches looked at.
func (s *switches) stir() { stir(s.wake) }

func (s *switches) act(kills Kills) {
	s.mu.Lock()
	s.kills = kills
	s.mu.Unlock()
	s.stir()
}

// run acts and tells until ctx ends.
func (s *switches) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() {
		everySo(ctx, s.wake, 0, func() error {
			defer stir(s.told)
			defer stir(s.revives)
			return s.carryOut(ctx)
		}, s.problem)
	})
	// On their own: a kill waits for nobody's revive.
	running.Go(func() {
		everySo(ctx, s.revives, 0, func() error {
			defer stir(s.told)
			return s.bringBack(ctx)
		}, s.problem)
	})
	running.Go(func() { everySo(ctx, s.told, 0, func() error { return s.tell(ctx) }, s.problem) })
	running.Wait()
}

// wishes are those of all KillSwitches, where this replica is to act on them.
func (s *switches) wishes(ctx context.Context) ([]wish, Kills, error) {
	s.mu.Lock()
	kills := s.kills
	s.mu.Unlock()
	if kills == nil || !s.leads() {
		return nil, nil, nil
	}
	objects, err := s.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	var out []wish
	for _, k := range objects {
		if k.DeletionTimestamp == nil { // what is deleted revives nothing
			out = append(out, wishOf(k, s.namespace))
		}
	}
	return out, kills, nil
}

// carryOut kills what is to be killed.
func (s *switches) carryOut(ctx context.Context) error {
	all, kills, err := s.wishes(ctx)
	if err != nil || kills == nil {
		return err
	}
	s.forget(all)
	var killing []func() error
	for i := range all {
		w := &all[i]
		if w.wrong != nil {
			continue
		}
		state := kills.State(w.target)
		if id, due := w.order(&state); due {
			killing = append(killing, func() error { s.kill(ctx, kills, w, id); return nil })
		}
	}
	atOnce(killing)
	return nil
}

// bringBack revives what is to be revived.
func (s *switches) bringBack(ctx context.Context) error {
	all, kills, err := s.wishes(ctx)
	if err != nil || kills == nil {
		return err
	}
	var reviving []func() error
	for i := range all {
		if w := &all[i]; w.wrong == nil {
			reviving = append(reviving, func() error { s.revive(ctx, kills, w); return nil })
		}
	}
	atOnce(reviving)
	return nil
}

func (s *switches) kill(ctx context.Context, kills Kills, w *wish, id string) {
	order := kill.Order{ID: id, At: time.Now(), By: w.by(), How: how, Reason: w.object.Spec.Reason, Mode: w.mode}
	state, err := kills.Kill(ctx, w.target, order)
	switch {
	case err == nil:
		s.refuse(w, nil)
		s.event(w.object, corev1.EventTypeNormal, "Killed", fmt.Sprintf("%s is stopped (%s): %s", w.target, w.mode, w.object.Spec.Reason))
		return
	case state.Generation == 0:
		s.refuse(w, &metav1.Condition{Reason: "Invalid", Message: err.Error()})
	}
	s.warn(w, "KillIncomplete", err)
}

func (s *switches) revive(ctx context.Context, kills Kills, w *wish) {
	state := kills.State(w.target)
	request, due := w.revive(&state)
	if !due {
		if _, killing := w.order(&state); !killing {
			s.refuse(w, nil)
		}
		return
	}
	request.At = time.Now()
	if _, err := kills.Revive(ctx, w.target, request); err != nil {
		s.refuse(w, &metav1.Condition{Reason: "ReviveRefused", Message: err.Error()})
		s.warn(w, "ReviveRefused", err)
		return
	}
	s.refuse(w, nil)
	if state = kills.State(w.target); !state.Killed {
		s.event(w.object, corev1.EventTypeNormal, "Revived", fmt.Sprintf("%s gets traffic again: %s", w.target, request.Reason))
	}
}

// refuse notes why a wish is not carried out; nil: it is.
func (s *switches) refuse(w *wish, why *metav1.Condition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == nil {
		delete(s.refused, w.object.UID)
		return
	}
	s.refused[w.object.UID] = why
}

// warn tells of what went wrong, once as long as it is the same.
func (s *switches) warn(w *wish, reason string, err error) {
	s.mu.Lock()
	said := s.said[w.object.UID]
	again := said[reason] == err.Error()
	if said == nil {
		said = map[string]string{}
		s.said[w.object.UID] = said
	}
	said[reason] = err.Error()
	s.mu.Unlock()
	if !again {
		s.event(w.object, corev1.EventTypeWarning, reason, err.Error())
	}
}

// forget drops what is known of objects that are no more.
func (s *switches) forget(all []wish) {
	there := map[types.UID]bool{}
	for i := range all {
		there[all[i].object.UID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.refused, func(id types.UID, _ *metav1.Condition) bool { return !there[id] })
	maps.DeleteFunc(s.said, func(id types.UID, _ map[string]string) bool { return !there[id] })
}

// tell writes how the KillSwitches stand.
func (s *switches) tell(ctx context.Context) error {
	all, kills, err := s.wishes(ctx)
	if err != nil || kills == nil {
		return err
	}
	states, proof := make([]kill.State, len(all)), Proof{}
	killed := false
	for i := range all { // before the proof, which is of no earlier kills than these then
		if all[i].wrong == nil {
			states[i] = kills.State(all[i].target)
			killed = killed || states[i].Killed
		}
	}
	uncarried := func(kill.Target) []string { return nil }
	if killed {
		proof, uncarried = kills.Proof(), s.uncarried()
	}
	var work []func() error
	for i := range all {
		w, state := &all[i], &states[i]
		next := s.statusOf(w, state, &proof, uncarried)
		if next != nil {
			work = append(work, func() error { return s.write(ctx, w.object, next) })
		}
	}
	return errors.Join(atOnce(work)...)
}

// statusOf is how a KillSwitch stands; nil: its kill is due still, and what its status
// says of that may not be written before.
func (s *switches) statusOf(w *wish, state *kill.State, proof *Proof, uncarried func(kill.Target) []string) *v1alpha1.KillSwitchStatus {
	not := func(reason, message string) metav1.Condition {
		return condition(accepted, metav1.ConditionFalse, reason, shortNote(message))
	}
	if w.wrong != nil {
		return w.killStatus(nil, not("Invalid", w.wrong.Error()))
	}
	s.mu.Lock()
	refused := s.refused[w.object.UID]
	s.mu.Unlock()
	took := w.carriedOut(state)
	if refused != nil {
		took = not(refused.Reason, refused.Message)
	}
	switch _, due := w.order(state); {
	case due && refused == nil:
		return nil
	case due:
		return w.killStatus(nil, took)
	}
	return w.killStatus(state, took, w.applied(state, proof, s.beyond(w.target), uncarried(w.target)))
}

// everySo does something when woken, and at least every lookAgain, until ctx ends, and
// leaves a rest after it. What goes wrong is told.
func everySo(ctx context.Context, wake <-chan struct{}, rest time.Duration, do func() error, problem func(error)) {
	tick, resting := time.NewTicker(lookAgain), time.NewTimer(0)
	defer tick.Stop()
	defer resting.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-resting.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
		resting.Reset(rest)
		if err := do(); err != nil && ctx.Err() == nil {
			problem(err)
		}
	}
}

func stir(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it is about to look
	}
}

// atOnce does all of it, several at a time, and returns what failed, sorted.
func atOnce(work []func() error) []error {
	var mu sync.Mutex
	var errs []error
	var running sync.WaitGroup
	turns := make(chan struct{}, writesAtOnce)
	for _, do := range work {
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			if err := do(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errs
}
