package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/config"
)

const fraud = "Model models/fraud"

func modelOf(versions string) []byte {
	return []byte(`{"apiVersion": "safestate.dev/v1alpha1", "kind": "Model", "metadata": {"namespace": "models", "name": "fraud"}, "spec": {"versions": [` + versions + `]}}`)
}

const (
	v1      = `{"name": "v1", "backendRef": {"name": "fraud-v1", "port": 80}}`
	v2      = `{"name": "v2", "backendRef": {"name": "fraud-v2", "port": 80}}`
	renamed = `{"name": "v2b", "backendRef": {"name": "fraud-v2", "port": 80}}`
	moved   = `{"name": "v2", "backendRef": {"name": "fraud-other", "port": 80}}`
)

// TestHoldVersions: who may write a Model may not by that revive what is killed.
func TestHoldVersions(t *testing.T) {
	for name, c := range map[string]struct {
		now    []byte // nil: deleted
		killed []string
		held   bool
	}{
		"renamed":                 {modelOf(v1 + "," + renamed), []string{"v2"}, true},
		"led elsewhere":           {modelOf(v1 + "," + moved), []string{"v2"}, true},
		"taken out":               {modelOf(v1), []string{"v2"}, true},
		"deleted":                 {nil, []string{"v2"}, true},
		"deleted, all killed":     {nil, nil, true},
		"taken out, all killed":   {modelOf(v2), nil, true},
		"another one":             {modelOf(v2), []string{"v2"}, false},
		"one more":                {modelOf(v1 + "," + v2 + `,{"name": "v3", "backendRef": {"name": "fraud-v3", "port": 80}}`), []string{"v2"}, false},
		"one that never was":      {modelOf(v1), []string{"v9"}, false},
		"no Model, refused alone": {[]byte(`{"spec": 1}`), []string{"v2"}, false},
	} {
		l, good := &lastGood{}, modelOf(v1+","+v2)
		l.keep(fraud, good, time.Now())
		files, refused, told := map[string][]byte{}, map[string]config.Problems{}, 0
		if c.now != nil {
			files[fraud] = c.now
		}
		for range 2 { // the second time nobody is told
			l.holdVersions(files, map[string][]string{"models/fraud": c.killed}, refused, func(error) { told++ })
			if c.held {
				files[fraud] = c.now
			}
		}
		l.holdVersions(files, map[string][]string{"models/fraud": c.killed}, refused, func(error) { told++ })
		if held := string(files[fraud]) == string(good); held != c.held || held != (refused[fraud] != nil) || c.held && told != 1 || l.waits() != c.held {
			t.Errorf("%s: held %v, told %d times, %v", name, held, told, refused)
		}
		l.holdVersions(map[string][]byte{}, nil, refused, func(error) { told++ })
		if l.waits() {
			t.Errorf("%s: held after the revive", name)
		}
	}
}

// remembered is a Memory.
type remembered struct {
	good  map[string]Good
	fails error
	kept  []string
}

func (r *remembered) All(context.Context) (map[string]Good, error) {
	return maps.Clone(r.good), r.fails
}

func (r *remembered) Keep(_ context.Context, name string, good *Good) error {
	r.kept = append(r.kept, name)
	if good == nil {
		delete(r.good, name)
	} else {
		r.good[name] = *good
	}
	return r.fails
}

// TestRecall: a process that starts while an object is refused knows what it said when
// it was good, and one that cannot know it loads nothing.
func TestRecall(t *testing.T) {
	away := &remembered{fails: errors.New("away")}
	l := &lastGood{}
	if err := l.recall(t.Context(), away); err == nil || l.recalled {
		t.Error("a memory that does not answer was taken for an empty one")
	}
	m := &remembered{good: map[string]Good{fraud: {Text: modelOf(v1)}}}
	if err := l.recall(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	files, refused := map[string][]byte{fraud: modelOf("1")}, map[string]config.Problems{}
	if !l.without(files, config.Problems{{File: fraud, Message: "is none"}}, refused) || string(files[fraud]) != string(modelOf(v1)) {
		t.Errorf("%s", files[fraud])
	}
}

// TestKeepGood: the leader alone writes, what differs alone, and nothing before it
// knows what is good.
func TestKeepGood(t *testing.T) {
	m := &remembered{good: map[string]Good{"Model models/gone": {Text: modelOf(v1)}}}
	c := &Controller{o: Options{Memory: m}, writer: &writer{}}
	keep := func(kept map[string]Good) map[string]Good {
		t.Helper()
		kept, err := c.keepGood(t.Context(), kept)
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	c.writer.lead = t.Context()
	keep(nil) // nothing is known
	c.lastGood.keep(fraud, modelOf(v1), time.Now())
	c.lastGood.known = true
	c.writer.lead = nil
	if keep(nil); len(m.kept) > 0 {
		t.Fatalf("wrote %v", m.kept)
	}
	c.writer.lead = t.Context()
	kept := keep(nil)
	keep(kept)
	if want := []string{fraud, "Model models/gone"}; !slices.Equal(m.kept, want) || len(m.good) != 1 {
		t.Errorf("wrote %v, want %v", m.kept, want)
	}
	// What another replica knew of an object that is there and not good now is not lost.
	m.good["Model models/bad"] = Good{Text: modelOf(v1)}
	c.lastGood.there = map[string][]byte{"Model models/bad": modelOf("1")}
	c.o.Changed = func() {}
	kept = keep(nil)
	if _, ok := m.good["Model models/bad"]; !ok || c.lastGood.text["Model models/bad"] == nil {
		t.Error("what was good is forgotten")
	}
	c.lastGood.keep(fraud, modelOf(v1+","+v2), time.Now())
	if keep(kept); len(m.kept) != 3 || !strings.Contains(string(m.good[fraud].Text), "v2") {
		t.Errorf("wrote %v", m.kept)
	}
}
