package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/istio"
)

// ControllerName is who writes an ancestor's status, see GEP-713.
const ControllerName gatewayv1.GatewayController = "safestate.dev/controller"

// Types of conditions.
const (
	accepted   = "Accepted"
	programmed = "Programmed"
)

// status writes conditions, where this replica leads.
type status struct {
	c    *Controller
	wake chan struct{}

	mu     sync.Mutex
	loaded *Loaded              // in use
	named  *Loaded              // the last
	since  map[string]time.Time // when what is refused of loaded was first
	failed error                // why nothing could be loaded
	shown  Shown                // nil: nobody knows
}

// Shown looks once, for all routes, at what requests show: of how many proxies that had
// requests on a route lately these came by the policy that it is to have.
type Shown func() func(route string) (shown, seen int)

func newStatus(c *Controller) *status { return &status{c: c, wake: make(chan struct{}, 1)} }

func (s *status) stir() { stir(s.wake) }

// Applied says what became of the last Load, for conditions: failed is why nothing of
// it holds.
func (c *Controller) Applied(l *Loaded, failed error) {
	s := c.status
	s.mu.Lock()
	if l != nil {
		s.loaded = l
		s.since = sinceWhen(s.since, l.Refused, time.Now())
	}
	s.failed = failed
	s.mu.Unlock()
	s.stir()
}

// name says by which names the mesh has the routes of what was loaded, before any of it
// is written by them.
func (s *status) name(l *Loaded) {
	s.mu.Lock()
	s.named = l
	s.mu.Unlock()
	s.c.writer.stir()
}

// naming is which routes cannot be told by their names, and which can by these alone.
func (s *status) naming() (clashes map[string]string, alone map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.named == nil {
		return nil, nil
	}
	return s.named.Clashes, s.named.Alone
}

// Act has KillSwitches acted on from now on.
func (c *Controller) Act(kills Kills, shown Shown) {
	c.status.mu.Lock()
	c.status.shown = shown
	c.status.mu.Unlock()
	c.status.stir()
	c.switches.act(kills)
}

// lookAgain is how often conditions are looked at without a change: what traffic shows
// changes by itself.
const lookAgain = time.Second

// betweenRounds is what lies between two looks at all conditions: each object that is
// written asks for one.
const betweenRounds = 200 * time.Millisecond

func (s *status) run(ctx context.Context) {
	everySo(ctx, s.wake, betweenRounds, func() error { return s.round(ctx) }, s.c.o.Problem)
}

// leads reports whether this replica writes.
func (c *Controller) leads() bool {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.lead != nil
}

// round writes what differs, several at a time.
func (s *status) round(ctx context.Context) error {
	s.mu.Lock()
	loaded, shown := s.loaded, s.shown
	k := known{failed: s.failed, shown: func(string) (shown, seen int) { return 0, 0 }}
	s.mu.Unlock()
	w := s.c.writer
	w.mu.Lock()
	leads := w.lead != nil
	k.refused, k.problem = w.refused, w.problem.err
	w.mu.Unlock()
	if !leads || loaded == nil {
		return nil
	}
	k.unwritten, _ = w.queue.unwritten()
	k.judged = map[string][]*compile.Route{}
	for _, r := range loaded.Snapshot.Judged() {
		k.judged[r.Policy.Name] = append(k.judged[r.Policy.Name], r)
	}
	if shown != nil {
		k.shown = shown()
	}
	models, err1 := s.models(ctx, loaded)
	policies, err2 := s.policies(ctx, loaded, &k)
	affected, err3 := s.affected(ctx, loaded, &k)
	return errors.Join(append([]error{err1, err2, err3}, atOnce(slices.Concat(models, policies, affected))...)...)
}

func (s *status) models(ctx context.Context, l *Loaded) (work []func() error, err error) {
	models, err := readAll[v1alpha1.Model](ctx, s.c, kindModel)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		next := m.Status.DeepCopy()
		c := acceptance(l.Refused[fmt.Sprintf("%s %s/%s", v1alpha1.KindModel, m.Namespace, m.Name)])
		if texts := outOfReach(l.Ungranted, kill.ForModel(m.Namespace+"/"+m.Name)); len(texts) > 0 && c.Status == metav1.ConditionTrue {
			c.Message = shortNote(c.Message + "; its policies, releases and kills do not reach " + strings.Join(texts, "; "))
		}
		c.ObservedGeneration = m.Generation
		setCondition(&next.Conditions, c)
		s.c.writer.weights.setHeld(&next.Conditions, m.Namespace, m.Name, m.Generation)
		work = append(work, func() error { return s.c.writeStatus(ctx, kindModel, m, m.Status, next) })
	}
	return work, nil
}

// known is what is known of what became of a configuration.
type known struct {
	failed    error            // nothing of the newest holds
	refused   map[string]error // routes that cannot be carried
	unwritten map[string]error // routes that are not written
	problem   error            // why what is to be written is not known; nil: it is
	shown     func(route string) (shown, seen int)
	judged    map[string][]*compile.Route // by their policies, namespace/name
}

func (s *status) policies(ctx context.Context, l *Loaded, k *known) (work []func() error, err error) {
	policies, err := readAll[v1alpha1.FailSafePolicy](ctx, s.c, kindPolicy)
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		mistakes := l.Refused[fmt.Sprintf("%s %s/%s", v1alpha1.KindFailSafePolicy, p.Namespace, p.Name)]
		a := acceptance(mistakes)
		next := p.Status.DeepCopy()
		var ancestors []gatewayv1.PolicyAncestorStatus
		for i := range p.Spec.TargetRefs {
			ref := ancestorOf(&p.Spec.TargetRefs[i], p.Namespace)
			old := formerConditions(next.Ancestors, ref)
			a.ObservedGeneration = p.Generation
			setCondition(&old, a)
			c := programming(l, p, &p.Spec.TargetRefs[i], k)
			c.ObservedGeneration = p.Generation
			setCondition(&old, c)
			ancestors = append(ancestors, gatewayv1.PolicyAncestorStatus{AncestorRef: ref, ControllerName: ControllerName, Conditions: old})
		}
		for _, other := range next.Ancestors { // another controller's stay
			if other.ControllerName != ControllerName {
				ancestors = append(ancestors, other)
			}
		}
		next.Ancestors = ancestors
		if len(next.Ancestors) > mostAncestors {
			next.Ancestors = next.Ancestors[:mostAncestors]
		}
		work = append(work, func() error { return s.c.writeStatus(ctx, kindPolicy, p, p.Status, next) })
	}
	return work, nil
}

// mostAncestors is the Gateway API's bound.
const mostAncestors = 16

func ancestorOf(t *gatewayv1.LocalPolicyTargetReferenceWithSectionName, namespace string) gatewayv1.ParentReference {
	ns := gatewayv1.Namespace(namespace)
	return gatewayv1.ParentReference{Group: &t.Group, Kind: &t.Kind, Namespace: &ns, Name: t.Name, SectionName: t.SectionName}
}

func formerConditions(all []gatewayv1.PolicyAncestorStatus, ref gatewayv1.ParentReference) []metav1.Condition {
	for _, a := range all {
		if a.ControllerName == ControllerName && reflect.DeepEqual(a.AncestorRef, ref) {
			return append([]metav1.Condition(nil), a.Conditions...)
		}
	}
	return nil
}

// acceptance is the condition Accepted of an object with its mistakes.
func acceptance(mistakes config.Problems) metav1.Condition {
	if len(mistakes) == 0 {
		return condition(accepted, metav1.ConditionTrue, string(gatewayv1.PolicyReasonAccepted), "it is in use")
	}
	reason := string(gatewayv1.PolicyReasonInvalid)
	var texts []string
	for _, p := range mistakes {
		texts = append(texts, strings.TrimPrefix(p.Field+": "+p.Message, ": "))
		switch {
		case strings.Contains(p.Message, "has FailSafePolicy"):
			reason = string(gatewayv1.PolicyReasonConflicted)
		case strings.HasPrefix(p.Field, "spec.targetRefs") && strings.Contains(p.Message, "has that name"):
			reason = string(gatewayv1.PolicyReasonTargetNotFound)
		}
	}
	return condition(accepted, metav1.ConditionFalse, reason, shortNote(strings.Join(texts, "; ")))
}

// programming is the condition Programmed of one target: what the mesh was told, which
// is no proof that a proxy does it.
func programming(l *Loaded, p *v1alpha1.FailSafePolicy, t *gatewayv1.LocalPolicyTargetReferenceWithSectionName, k *known) metav1.Condition {
	var carried, cannot, carriers, unwritten []string
	shown, seen := 0, 0
	for _, r := range k.judged[p.Namespace+"/"+p.Name] {
		if r.Object.Kind != string(t.Kind) || r.Object.Name != string(t.Name) {
			continue
		}
		if err := k.refused[r.Name]; err != nil {
			cannot = append(cannot, err.Error())
			continue
		}
		carried = append(carried, r.Name)
		for _, who := range istio.Carriers(l.Snapshot, r) {
			if !slices.Contains(carriers, who) {
				carriers = append(carriers, who)
			}
		}
		if err := k.unwritten[r.Name]; err != nil && !slices.Contains(unwritten, err.Error()) {
			unwritten = append(unwritten, err.Error())
		}
		a, b := k.shown(r.Name)
		shown, seen = shown+a, seen+b
	}
	where := "carried by " + strings.Join(carriers, ", ") + ": "
	if p.Spec.GRPCLastRung == v1alpha1.GRPCAnswer && t.Kind == "GRPCRoute" {
		where = "grpcLastRung " + istio.LastRungNote + "; " + where
	}
	not := func(reason, message string) metav1.Condition {
		return condition(programmed, metav1.ConditionFalse, reason, shortNote(message))
	}
	ungranted := ungrantedFor(l.Ungranted, p.Namespace, t)
	switch {
	case k.failed != nil:
		return not("Reconciling", k.failed.Error())
	case len(cannot) > 0 && len(carried) > 0:
		return not("PartiallyProgrammed", strings.Join(cannot, "; "))
	case len(cannot) > 0:
		return not("Invalid", strings.Join(cannot, "; "))
	case len(ungranted) > 0 && len(carried) > 0:
		return not("PartiallyProgrammed", strings.Join(ungranted, "; "))
	case len(ungranted) > 0:
		return not(string(gatewayv1.RouteReasonRefNotPermitted), strings.Join(ungranted, "; ")+": until then no answer is inspected")
	case len(carried) == 0:
		return not("Reconciling", "no rule of the target leads to a version of a Model")
	case k.problem != nil:
		return not("Reconciling", k.problem.Error())
	case len(unwritten) > 0:
		return not("Reconciling", strings.Join(unwritten, "; "))
	case shown < seen:
		return not("PartiallyProgrammed", fmt.Sprintf("%s%d of %d proxies that had requests lately show it", where, shown, seen))
	case seen == 0:
		return condition(programmed, metav1.ConditionUnknown, "Unshown", shortNote(where+"the mesh was told of it for "+strings.Join(carried, ", ")+"; no request has shown it yet"))
	}
	return condition(programmed, metav1.ConditionTrue, "Programmed", shortNote(fmt.Sprintf("%sthe requests of all %d proxies that had any lately show it, on %s", where, seen, strings.Join(carried, ", "))))
}

// setCondition is meta.SetStatusCondition, whose time is that of the change.
func setCondition(all *[]metav1.Condition, c metav1.Condition) { meta.SetStatusCondition(all, c) }

// writeStatus writes a status that is another one, by server-side apply.
func (c *Controller) writeStatus(ctx context.Context, k schema.GroupVersionKind, object client.Object, old, next any) error {
	if reflect.DeepEqual(reflect.Indirect(reflect.ValueOf(old)).Interface(), reflect.Indirect(reflect.ValueOf(next)).Interface()) {
		return nil
	}
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(next)
	if err != nil {
		return err
	}
	applied := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": object.GetNamespace(), "name": object.GetName()}, "status": status,
	}}
	applied.SetGroupVersionKind(k)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = c.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(Manager), client.ForceOwnership)
	if apierrors.IsNotFound(err) {
		return nil // it is gone
	}
	if err != nil {
		return fmt.Errorf("the status of %s %s/%s cannot be written: %w", k.Kind, object.GetNamespace(), object.GetName(), err)
	}
	return nil
}
