package controller

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// objectKey names an object that routes are of.
type objectKey struct{ kind, namespace, name string }

func (k objectKey) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// weightsBook is how the weights in objects of others stand. It is safe for concurrent
// use.
type weightsBook struct {
	mu sync.Mutex
	of map[objectKey]weighed
}

// weighed is how one object's stand.
type weighed struct {
	models []string  // namespace/name of those whose versions they are of
	text   string    // of the decision that was written last
	uid    types.UID // of the object that it was written into
	// revision is the object's when it was asked for last, or written.
	revision uint64
	ahead    ahead
	lost     string    // who has written others since; empty: nobody
	since    time.Time // when that was noticed
	failed   error     // why they could not be written
}

func (b *weightsBook) get(k objectKey) weighed {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[k]
}

func (b *weightsBook) set(k objectKey, w weighed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[objectKey]weighed{}
	}
	b.of[k] = w
}

// keep forgets all objects but those that something is decided of.
func (b *weightsBook) keep(decisions map[objectKey]*decision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.of {
		if decisions[k] == nil {
			delete(b.of, k)
		}
	}
}

// weightsHeld is the condition of a Model whether its routes have the weights that were
// decided. A Model without a release has none: its weights are whoever's they are.
const weightsHeld = "WeightsHeld"

// held is that condition of a model, namespace/name; nil: it has none.
func (b *weightsBook) held(model string) *metav1.Condition {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all, lost, failed []string
	for k, w := range b.of {
		if !slices.Contains(w.models, model) {
			continue
		}
		all = append(all, k.String())
		switch {
		case w.failed != nil:
			failed = append(failed, w.failed.Error())
		case w.lost != "":
			lost = append(lost, fmt.Sprintf("%s has written other weights into %s", w.lost, k))
		}
	}
	said := func(texts []string) string {
		slices.Sort(texts)
		return strings.Join(texts, "; ")
	}
	var c metav1.Condition
	switch {
	case len(all) == 0:
		return nil
	case len(lost) > 0:
		c = condition(weightsHeld, metav1.ConditionFalse, "Overwritten", shortNote(said(lost)+": they stay until the next decision; have it leave the weights alone"))
	case len(failed) > 0:
		c = condition(weightsHeld, metav1.ConditionFalse, "Unwritten", shortNote(said(failed)))
	default:
		c = condition(weightsHeld, metav1.ConditionTrue, "Written", shortNote(said(all)))
	}
	return &c
}

// troubles are the weights that others have overwritten.
func (b *weightsBook) troubles() (out []Trouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, w := range b.of {
		if w.lost != "" {
			out = append(out, Trouble{
				What:  fmt.Sprintf("%s has written other weights into %s: they stay until the next decision", w.lost, k),
				Since: w.since, Others: true,
			})
		}
	}
	return out
}

// setHeld puts it among a Model's conditions, or takes it out.
func (b *weightsBook) setHeld(all *[]metav1.Condition, namespace, name string, generation int64) {
	c := b.held(namespace + "/" + name)
	if c == nil {
		meta.RemoveStatusCondition(all, weightsHeld)
		return
	}
	c.ObservedGeneration = generation
	setCondition(all, *c)
}
