package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
)

// Good is what an object said when it was good.
type Good struct {
	Text json.RawMessage `json:"text"`
	Born time.Time       `json:"born,omitzero"` // when the object was made
}

// Memory keeps what objects said when they were good for longer than a process lives:
// one that starts while an object is refused goes by it. Names are "KIND
// namespace/name".
type Memory interface {
	All(ctx context.Context) (map[string]Good, error)
	// Keep replaces what is kept under a name; nil takes it away.
	Keep(ctx context.Context, name string, good *Good) error
}

// recall reads what was good before this process began. It is done once.
func (l *lastGood) recall(ctx context.Context, m Memory) error {
	if l.recalled || m == nil {
		return nil
	}
	all, err := m.All(ctx)
	if err != nil {
		return fmt.Errorf("what objects said when they were good: %w", err)
	}
	for name, g := range all {
		l.keep(name, g.Text, g.Born)
	}
	l.recalled = true
	return nil
}

// of is what those of objects that are there said when they were good.
func (l *lastGood) of(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range l.text {
		if files[name] != nil {
			out[name] = text
		}
	}
	return out
}

// good is what is to be kept; nil: it is not known yet.
func (l *lastGood) good() map[string]Good {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known {
		return nil
	}
	out := make(map[string]Good, len(l.text))
	for name, text := range l.text {
		out[name] = Good{Text: text, Born: l.born[name]}
	}
	return out
}

// remembers is how often it is looked whether what is good is kept.
const remembers = 2 * time.Second

// remember keeps what is good, where this replica leads.
func (c *Controller) remember(ctx context.Context) {
	if c.o.Memory == nil {
		return
	}
	var kept map[string]Good // nil: not known
	everySo(ctx, nil, remembers, func() (err error) {
		if c.lastGood.waits() {
			c.o.Changed() // a kill or a rollout may have ended meanwhile
		}
		if kept, err = c.keepGood(ctx, kept); err != nil {
			return fmt.Errorf("a replica that starts would not know what objects said when they were good: %w", err)
		}
		return nil
	}, c.o.Problem)
}

// keepGood writes what differs from what is kept, and returns what is kept then.
func (c *Controller) keepGood(ctx context.Context, kept map[string]Good) (map[string]Good, error) {
	good := c.lastGood.good()
	if good == nil || !c.leads() {
		return nil, nil // another replica may write now
	}
	if kept == nil {
		var err error
		if kept, err = c.o.Memory.All(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(good)) {
		g := good[name]
		if was, ok := kept[name]; ok && string(was.Text) == string(g.Text) && was.Born.Equal(g.Born) {
			continue
		}
		if err := c.o.Memory.Keep(ctx, name, &g); err != nil {
			return nil, err
		}
		kept[name] = g
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if _, ok := good[name]; ok {
			continue
		}
		if c.lastGood.adopt(name, kept[name]) {
			c.o.Changed()
			continue // it was good while another replica led, and is not now
		}
		if err := c.o.Memory.Keep(ctx, name, nil); err != nil {
			return nil, err
		}
		delete(kept, name)
	}
	return kept, nil
}

// adopt takes over what another replica has kept of an object that is there, and of
// which this one knows nothing good.
func (l *lastGood) adopt(name string, g Good) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.there[name] == nil || l.text[name] != nil {
		return false
	}
	l.keep(name, g.Text, g.Born)
	return true
}

// waits reports whether some Model is held for a kill's sake.
func (l *lastGood) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.killed) > 0
}

// holdVersions has Models go on saying of versions that are killed, or in a rollout,
// what they said when they were good: who may write a Model may not by that give traffic
// to what somebody has killed, nor leave a share to what nobody knows any more. killed
// are versions by their model, namespace/name; none: all of it.
func (l *lastGood) holdVersions(files map[string][]byte, killed map[string][]string, refused map[string]config.Problems, tell func(error)) {
	held := map[string]bool{}
	for _, model := range slices.Sorted(maps.Keys(killed)) {
		name := kindModel.Kind + " " + model
		last := l.text[name]
		if last == nil {
			continue
		}
		gone := lost(last, files[name], killed[model])
		if gone == "" {
			continue
		}
		p := config.Problem{File: name, Field: "spec.versions", Message: fmt.Sprintf("would take version %s away, or lead it elsewhere, which is killed or in a rollout; what the Model said holds until it is revived, or the rollout has ended", gone)}
		files[name], held[name] = last, true
		refused[name] = append(refused[name], p)
		if !l.killed[name] {
			tell(fmt.Errorf("%s", p))
		}
	}
	l.killed = held
}

// kills reports whether a mistake would take a Model away that was good and of which
// something is killed: then nothing of the configuration is taken, and all stays as it
// is.
func (l *lastGood) kills(files map[string][]byte, mistakes config.Problems, killed map[string][]string) bool {
	return slices.ContainsFunc(mistakes, func(p config.Problem) bool {
		model, is := strings.CutPrefix(p.File, kindModel.Kind+" ")
		_, stopped := killed[model]
		return is && stopped && files[p.File] != nil && string(files[p.File]) == string(l.text[p.File])
	})
}

// lost is a killed version of which a Model does not say any more what it said; empty:
// there is none. Of a text that is no Model, or of none at all, it is the first.
func lost(last, now []byte, killed []string) string {
	var was, is v1alpha1.Model
	if json.Unmarshal(last, &was) != nil {
		return ""
	}
	if now != nil && json.Unmarshal(now, &is) != nil {
		return "" // it is refused for that
	}
	for i := range was.Spec.Versions {
		v := &was.Spec.Versions[i]
		if len(killed) > 0 && !slices.Contains(killed, v.Name) {
			continue
		}
		if !slices.ContainsFunc(is.Spec.Versions, func(w v1alpha1.ModelVersion) bool {
			return w.Name == v.Name && reflect.DeepEqual(w.BackendRef, v.BackendRef)
		}) {
			return v.Name
		}
	}
	return ""
}

// problemsOf are mistakes of Models, by namespace/name, as Load has them.
func problemsOf(mistakes map[string]error) (out config.Problems) {
	for _, name := range slices.Sorted(maps.Keys(mistakes)) {
		text := strings.TrimPrefix(mistakes[name].Error(), "model "+name+": ")
		out = append(out, config.Problem{File: kindModel.Kind + " " + name, Message: text})
	}
	return out
}
