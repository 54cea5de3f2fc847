package controller

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestHold: objects that are gone with their definition hold, and those that somebody
// has deleted do not.
func TestHold(t *testing.T) {
	old, young := time.Unix(100, 0), time.Unix(200, 0)
	with := func(names ...string) map[string][]byte {
		out := map[string][]byte{}
		for _, n := range names {
			out[n] = []byte(n)
		}
		return out
	}
	l := &lastGood{}
	var told []string
	step := func(what string, defined definitions, files map[string][]byte, want ...string) {
		t.Helper()
		l.hold(files, defined, func(err error) { told = append(told, err.Error()) })
		if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		for name, text := range files {
			l.keep(name, text, map[string]time.Time{"Model a/x": old.Add(time.Second), "Model a/y": old.Add(time.Second), "FailSafePolicy a/x": old.Add(time.Second)}[name])
		}
		maps.DeleteFunc(l.text, func(name string, _ []byte) bool { return files[name] == nil })
	}
	before, after := definitions{"Model": old, "FailSafePolicy": old}, definitions{"Model": young, "FailSafePolicy": old}
	step("at first", before, with("Model a/x", "Model a/y", "FailSafePolicy a/x"), "FailSafePolicy a/x", "Model a/x", "Model a/y")
	step("one is deleted", before, with("Model a/x", "FailSafePolicy a/x"), "FailSafePolicy a/x", "Model a/x")
	step("it is there again", before, with("Model a/x", "Model a/y", "FailSafePolicy a/x"), "FailSafePolicy a/x", "Model a/x", "Model a/y")
	step("the definition is another one, and the cache does not know", after, with("Model a/x", "Model a/y", "FailSafePolicy a/x"), "FailSafePolicy a/x", "Model a/x", "Model a/y")
	step("now it does", after, with("FailSafePolicy a/x"), "FailSafePolicy a/x", "Model a/x", "Model a/y")
	step("still", after, with("FailSafePolicy a/x"), "FailSafePolicy a/x", "Model a/x", "Model a/y")
	if len(told) != 2 {
		t.Errorf("told %d times: %q", len(told), told)
	}
	step("one of another kind is deleted", after, with(), "Model a/x", "Model a/y")
	l.keep("Model a/x", []byte("new"), young) // as Load does with one that is applied
	if len(modelsOf(map[string][]byte{"Model a/x": []byte(`{"metadata":{"name":"x"}}`), "FailSafePolicy a/x": []byte(`{}`), "Model a/y": []byte(`[]`)})) != 1 {
		t.Error("other Models than those that can be read")
	}
	step("applied, and deleted", after, with(), "Model a/y")
}

// TestPasses: what waiting mends is waited for, and a watch that has to begin anew is
// told so.
func TestPasses(t *testing.T) {
	resource := schema.GroupResource{Resource: "models"}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"away":       {errors.New("connection refused"), true},
		"no rights":  {apierrors.NewForbidden(resource, "x", nil), true},
		"no user":    {apierrors.NewUnauthorized("x"), true},
		"no kind":    {apierrors.NewNotFound(resource, "x"), true},
		"busy":       {apierrors.NewTooManyRequests("x", 1), true},
		"down":       {apierrors.NewServiceUnavailable("x"), true},
		"expired":    {apierrors.NewResourceExpired("x"), false},
		"not so":     {apierrors.NewBadRequest("x"), false},
		"in advance": {apierrors.NewTimeoutError("too large resource version", 1), false},
	} {
		if got := passes(c.err); got != c.want {
			t.Errorf("%s: passes %v, want %v", name, got, c.want)
		}
	}
}
