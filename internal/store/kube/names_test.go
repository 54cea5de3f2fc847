package kube

import (
	"math/rand/v2"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// words are what keys of the tests are made of: few, so that they often have a
// beginning in common.
var words = []string{"", "a", "ab", "a-b", "b", "~", "!", "0", "00", "0000000000000007", "0000000000000012", "12-a", "12a", "9", strings.Repeat("x", 130)}

func someKey(random *rand.Rand) string {
	var b strings.Builder
	for range 1 + random.IntN(5) {
		b.WriteString("/" + words[random.IntN(len(words))])
	}
	if b.Len() > 512 {
		return someKey(random)
	}
	return b.String()
}

// TestNamesKeepOrder: an API server lists by name, and what is listed first is
// what comes first by key, as far as read relies on it.
func TestNamesKeepOrder(t *testing.T) {
	t.Parallel()
	random, n := rand.New(rand.NewPCG(1, 2)), names{DefaultPrefix}
	byName := map[string]string{}
	for range 20_000 {
		a, b := someKey(random), someKey(random)
		if was, ok := byName[n.record(a)]; ok && was != a {
			t.Fatalf("%q and %q have one name", was, a)
		}
		byName[n.record(a)] = a
		if a < b && len(a) <= wholeKey && n.record(a) >= n.record(b) {
			t.Fatalf("%q is before %q, and its name %s is not before %s", a, b, n.record(a), n.record(b))
		}
		if a < b && rank(a) > rank(b) {
			t.Fatalf("ranks of %q and %q: %d, %d", a, b, rank(a), rank(b))
		}
	}
}

// TestNamesAreTaken: an API server takes what we write, the longest included.
func TestNamesAreTaken(t *testing.T) {
	t.Parallel()
	n := names{strings.Repeat("p", 30)}
	for _, key := range []string{"/", "/a", "/" + strings.Repeat("~", 511), strings.Repeat("/", 512), "/" + strings.Repeat("a/", 255)} {
		if problems := validation.IsDNS1123Subdomain(n.record(key)); len(problems) > 0 {
			t.Errorf("%q: name %s: %s", key, n.record(key), problems)
		}
		all := n.labels(key, n.alive())
		if len(all) > maxFolders+1 {
			t.Errorf("%q: %d labels", key, len(all))
		}
		for name, value := range all {
			if problems := append(validation.IsQualifiedName(name), validation.IsValidLabelValue(value)...); len(problems) > 0 {
				t.Errorf("%q: label %s=%s: %s", key, name, value, problems)
			}
		}
	}
	if problems := validation.IsDNS1123Subdomain(n.election("/a")); len(problems) > 0 {
		t.Errorf("a Lease's name %s: %s", n.election("/a"), problems)
	}
}

// TestSelectorsMissNothing: what has the prefix and is not before from, the
// selector selects; and of what keys are made of in practice little else.
func TestSelectorsMissNothing(t *testing.T) {
	t.Parallel()
	random, n := rand.New(rand.NewPCG(3, 4)), names{DefaultPrefix}
	for range 20_000 {
		key, from := someKey(random), someKey(random)
		prefix := someKey(random)
		if random.IntN(2) == 0 {
			prefix = key[:1+random.IntN(len(key))]
		}
		if random.IntN(2) == 0 {
			from = prefix + words[random.IntN(len(words))]
		}
		for _, ranged := range []bool{true, false} {
			if strings.HasPrefix(key, prefix) && key >= from && !selected(t, n, prefix, from, key, ranged) {
				t.Fatalf("%q from %q misses %q: %s", prefix, from, key, n.selector(prefix, from, ranged))
			}
		}
	}
	for _, c := range []struct{ prefix, from, key string }{
		{"/safestate/v1/kills/", "", "/safestate/v1/killsmore/a"},
		{"/safestate/v1/kills/", "", "/safestate/v1/models/a"},
		{"/safestate/v1/proxies", "", "/safestate/v1/audit/w/0000000000000001"},
		{"/safestate/v1/signing-keys", "", "/safestate/v1/leader"},
		{"/a/h/", "/a/h/0000000000000012", "/a/h/0000000000000011"},
	} {
		if selected(t, n, c.prefix, c.from, c.key, true) {
			t.Errorf("%s from %q selects %s", c.prefix, c.from, c.key)
		}
	}
	other, err := labels.Parse(names{"other"}.selector("/", "", true))
	if err != nil || other.Matches(labels.Set(n.labels("/a", ""))) {
		t.Errorf("another installation's selector %s matches ours, err %v", other, err)
	}
}

func selected(t *testing.T, n names, prefix, from, key string, ranged bool) bool {
	t.Helper()
	s, err := labels.Parse(n.selector(prefix, from, ranged))
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(n.labels(key, "")))
}
