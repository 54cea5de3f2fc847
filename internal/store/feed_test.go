package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/safestate/safestate/internal/store"
)

func at(key string, revision int64) store.Entry {
	return store.Entry{Key: key, Value: []byte("v"), Revision: revision}
}

func made(key string, revision int64) store.Event { return store.Event{Entry: at(key, revision)} }

func gone(key string, revision int64) store.Event {
	return store.Event{Entry: store.Entry{Key: key, Revision: revision}, Deleted: true}
}

func TestFeed(t *testing.T) {
	type step struct {
		do   func(*store.Feed)
		want string // what the receiver gets; "none": nothing, "-": an empty slice
	}
	replace := func(revision int64, entries ...store.Entry) func(*store.Feed) {
		return func(f *store.Feed) { f.Replace(entries, revision) }
	}
	apply := func(events ...store.Event) func(*store.Feed) {
		return func(f *store.Feed) { f.Apply(events) }
	}
	for name, steps := range map[string][]step{
		"an empty store is news once": {
			{replace(5), "-"}, {replace(6), "none"}, {apply(), "none"},
		},
		"a state read again tells differences": {
			{replace(5, at("a", 1), at("b", 5), at("c", 3)), "a@1 c@3 b@5"},
			{replace(9, at("a", 1), at("b", 8), at("d", 9)), "b@8 c gone@9 d@9"},
			{replace(9, at("a", 1), at("b", 8), at("d", 9)), "none"},
		},
		"a store set back brings old revisions": {
			{replace(5, at("a", 5)), "a@5"}, {replace(1_000, at("a", 3)), "a@3"},
		},
		"a store set back and written to has other values at old revisions": {
			{replace(5, at("a", 5), at("b", 4)), "b@4 a@5"},
			{replace(5, at("a", 5), store.Entry{Key: "b", Value: []byte("w"), Revision: 4}), "b@4"},
			{apply(made("b", 4)), "b@4"}, {replace(5, at("a", 5), at("b", 4)), "none"},
		},
		"only the newest of a record": {
			{replace(1), "-"},
			{apply(made("a", 2), made("b", 3), made("a", 4)), "b@3 a@4"},
			{apply(gone("a", 5), made("a", 6)), "a@6"},
			{apply(made("b", 7), gone("b", 8)), "b gone@8"},
		},
		"what came and went unseen is no news": {
			{replace(1), "-"}, {apply(made("a", 2), gone("a", 3)), "none"}, {apply(gone("never", 4)), "none"},
			{apply(made("a", 5)), "a@5"}, {apply(gone("a", 6)), "a gone@6"}, {apply(made("a", 7), gone("a", 8)), "none"},
		},
		"a change is not told again by a state": {
			{replace(1), "-"}, {apply(made("a", 2)), "a@2"}, {replace(2, at("a", 2)), "none"}, {replace(3), "a gone@3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				f, out := store.NewFeed(), make(chan []store.Event)
				go f.Deliver(ctx, out)
				for i, s := range steps {
					s.do(f)
					synctest.Wait()
					if got := received(out); got != s.want {
						t.Errorf("step %d: %s, want %s", i+1, got, s.want)
					}
					synctest.Wait()
				}
				cancel()
				for range out { // it is closed, or the test hangs
				}
			})
		})
	}
}

func received(out <-chan []store.Event) string {
	select {
	case events := <-out:
		if len(events) == 0 {
			return "-"
		}
		var text []string
		for _, e := range events {
			if e.Deleted {
				text = append(text, fmt.Sprintf("%s gone@%d", e.Key, e.Revision))
				continue
			}
			text = append(text, fmt.Sprintf("%s@%d", e.Key, e.Revision))
		}
		return strings.Join(text, " ")
	default:
		return "none"
	}
}
