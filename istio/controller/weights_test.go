package controller

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/internal/compile"
)

// weighted is a route as the API server has it, with what was decided of it.
func weighted(v1, v2 int64, text string) *unstructured.Unstructured {
	ref := func(name string, weight int64) any {
		return map[string]any{"name": name, "port": int64(80), "weight": weight}
	}
	o := unstructuredOf(kindHTTPRoute)
	o.SetNamespace("a")
	o.SetName("fraud")
	o.SetAnnotations(map[string]string{Decided: text})
	o.Object["spec"] = map[string]any{"rules": []any{map[string]any{"name": "score", "backendRefs": []any{ref("fraud-v1", v1), ref("fraud-v2", v2)}}}}
	return o
}

// released is what a release decides of that route, by its generation.
func released(t *testing.T, generation uint64, v1 int) (objectKey, *decision) {
	t.Helper()
	s := teams(t, "edge", "a").WithReleases(map[string]compile.Release{"a/fraud": {Generation: generation, Weights: map[string]int{"v1": v1, "v2": 100 - v1}}})
	decisions, wrong := decisionsOf(s)
	for k, d := range decisions {
		if wrong[k] == nil {
			return k, d
		}
	}
	t.Fatalf("nothing is decided: %v", wrong)
	return objectKey{}, nil
}

func weightOf(a *api) int64 {
	rules, _, _ := unstructured.NestedSlice(a.object("HTTPRoute a/fraud").Object, "spec", "rules")
	return rules[0].(map[string]any)["backendRefs"].([]any)[0].(map[string]any)["weight"].(int64)
}

// TestOthersLast: weights that are not those of the decision are left where somebody
// else was last to write them, and written where that was safestate.
func TestOthersLast(t *testing.T) {
	k, ours := released(t, 7, 100)
	_, older := released(t, 6, 50)
	_, newer := released(t, 8, 30)
	const update, apply = metav1.ManagedFieldsOperationUpdate, metav1.ManagedFieldsOperationApply
	for name, c := range map[string]struct {
		manager string
		how     metav1.ManagedFieldsOperationType
		there   *decision // the last one that is said there
		before  bool      // ours was written there before
		want    int64     // weight of v1, which has 50
		lost    string
		err     string
	}{
		"a replica that led before":          {Manager, apply, older, true, 100, "", ""},
		"the same, and we have just started": {Manager, apply, older, false, 100, "", ""},
		"it says ours":                       {Manager, apply, ours, false, 100, "", ""},
		"somebody else":                      {"argocd", apply, ours, true, 50, "argocd", ""},
		"somebody else by hand":              {"kubectl-edit", update, ours, false, 50, "kubectl-edit", ""},
		"somebody else, by our name":         {Manager, update, ours, true, 50, Manager, ""},
		"somebody else, before ours":         {"argocd", apply, older, false, 100, "", ""},
		"nobody":                             {"", apply, ours, true, 50, "another manager", ""},
		"a replica that leads now":           {Manager, apply, newer, false, 50, "", "a later decision"},
		"the same, after ours":               {Manager, apply, newer, true, 50, "", "a later decision"},
	} {
		t.Run(name, func(t *testing.T) {
			ctl, a := controlled(t)
			a.put(weighted(50, 50, c.there.text), c.manager, c.how)
			if c.manager == "" {
				a.object("HTTPRoute a/fraud").SetManagedFields(nil)
			}
			if c.before {
				ctl.writer.weights.set(k, weighed{text: ours.text, uid: "1"})
			}
			err := ctl.writer.weigh(t.Context(), k, ours)
			if got := weightOf(a); got != c.want {
				t.Errorf("v1 weighs %d, want %d", got, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("the error is %v, want %q", err, c.err)
			}
			if got := ctl.writer.weights.get(k).lost; got != c.lost {
				t.Errorf("they are lost to %q, want %q", got, c.lost)
			}
		})
	}
}

// TestLater: only what knows of more releases or kills of the same destinations is
// later.
func TestLater(t *testing.T) {
	const ours = "a/r/x: generation 7, kills 2: v1 5, v2 95; a/r/y: generation 3: v1 1, v2 1"
	for there, want := range map[string]bool{
		"":   false,
		ours: false,
		"a/r/x: generation 6, kills 2: v1 5, v2 95":                                                false,
		"a/r/x: generation 8, kills 2: v1 5, v2 95":                                                true,
		"a/r/x: generation 7, kills 3: v1 5, v2 95":                                                true,
		"a/r/x: generation 10: v1 5, v2 95":                                                        true,
		"a/r/x: generation 7, kills 2: v1 100, v2 0":                                               false, // a ramp goes on without either
		"a/r/x: generation 8, kills 2: v1 5, v3 95":                                                false,
		"a/r/z: generation 8: v1 5, v2 95":                                                         false,
		"a/r/x: generation 7, kills 2: v1 5, v2 95; a/r/y: generation 4: v1 1, v2 1":               true,
		"what somebody has written there: by hand; a/r/y: generation 99999999999999999999: v1, v2": true,
	} {
		if got := later(there, ours); got != want {
			t.Errorf("later is %v, want %v: %s", got, want, there)
		}
	}
}

// TestAhead: a later decision is not written over, but where nobody is heard of from
// whom it is.
func TestAhead(t *testing.T) {
	const there, ours = "a/r/x: generation 8: v1 5, v2 95", "a/r/x: generation 7: v1 5, v2 95"
	now := time.Now()
	for name, c := range map[string]struct {
		after []time.Duration // of the looks
		waits bool            // the last one
	}{
		"it is new":                             {[]time.Duration{0}, true},
		"soon":                                  {[]time.Duration{0, 1, 2, 3, 4, longAhead - 1}, true},
		"long":                                  {[]time.Duration{0, 1, 2, 3, longAhead}, false},
		"it was stopped, and nothing else":      {[]time.Duration{0, longAhead}, true},
		"and looks at once when it is let on":   {[]time.Duration{0, longAhead, longAhead}, true},
		"another one after that waits for long": {[]time.Duration{0, 1, 2, 3, longAhead, longAhead}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var a ahead
			var err error
			for _, d := range c.after {
				err = a.waits(there, ours, now.Add(d))
			}
			if (err != nil) != c.waits {
				t.Errorf("it waits: %v, want %v", err, c.waits)
			}
			if err := a.waits(ours, ours, now); err != nil || a != (ahead{}) {
				t.Errorf("our own: %v, %+v", err, a)
			}
		})
	}
}

// TestResignBetween: who stops leading after it has read an object does not write it.
func TestResignBetween(t *testing.T) {
	ctl, a := controlled(t)
	k, d := released(t, 7, 100)
	a.put(weighted(50, 50, ""), "argocd", metav1.ManagedFieldsOperationApply)
	ctx, resign := context.WithCancel(t.Context())
	ctl.client = &between{a, resign}
	if err := ctl.writer.weigh(ctx, k, d); err == nil {
		t.Error("it is said to be written")
	}
	if len(a.writes) > 0 || ctl.writer.weights.get(k).failed != nil {
		t.Errorf("wrote %v, notes %+v", a.writes, ctl.writer.weights.get(k))
	}
}

// between does something after each object that is read.
type between struct {
	*api
	do func()
}

// Get implements client.Reader.
func (b *between) Get(ctx context.Context, key client.ObjectKey, into client.Object, o ...client.GetOption) error {
	defer b.do()
	return b.api.Get(ctx, key, into, o...)
}

// TestAdmission: what a webhook changes while it is written is not written again and
// again.
func TestAdmission(t *testing.T) {
	ctl, a := controlled(t)
	k, d := released(t, 7, 100)
	a.put(weighted(50, 50, ""), "argocd", metav1.ManagedFieldsOperationApply)
	a.admit = func(o *unstructured.Unstructured) { o.Object["spec"] = weighted(1, 1, "").Object["spec"] }
	for range 3 {
		if err := ctl.writer.weigh(t.Context(), k, d); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.asked(k.String()); n != 1 {
		t.Errorf("written %d times, want once", n)
	}
	if c := ctl.writer.weights.held("a/fraud"); c == nil || c.Reason != "Overwritten" || !strings.Contains(c.Message, admission) {
		t.Errorf("the condition is %v", c)
	}
}
