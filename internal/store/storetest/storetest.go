// Package storetest is what every engine of the store has to pass.
package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// Engine is what is tested.
type Engine struct {
	// Open returns a client of the one store of this engine: as a process of its
	// own would have it, or, where only one process can, the same each time. The
	// suite does not close it.
	Open func(t *testing.T) store.Store

	// Forget has the engine drop the history of what was written so far.
	Forget func(t *testing.T)

	// Outage cuts the client off, runs during, has the engine drop its history,
	// and gives the client its connection back. Nil where nothing lies between
	// them that could break.
	Outage func(t *testing.T, client store.Store, during func())

	// Lease is how long what a dead process held may live on.
	Lease time.Duration
}

// hang is the time after which a test gives up on what should come at once.
const hang = 30 * time.Second

// Run runs the suite. Tests use keys of their own, so the store may hold
// others.
func Run(t *testing.T, engine Engine) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Engine)
	}{
		{"RecordsAreComparedAndSwapped", records},
		{"KeysAndValues", keysAndValues},
		{"ListIsSortedAndExact", list},
		{"PageIsAPartOfTheList", page},
		{"RevisionsGrow", revisions},
		{"ManyWritersLoseNothing", counter},
		{"OneOfManyCreates", createOnce},
		{"WatchTellsTheStateFirst", watchState},
		{"WatchTellsChangesInOrder", watchChanges},
		{"SlowWatchGetsTheNewest", watchSlow},
		{"WatchesAgreeWithTheStore", watchModel},
		{"WatchSurvivesForgottenHistory", watchForgotten},
		{"WatchSurvivesAnOutage", watchOutage},
		{"RegistrationLivesWithItsContext", register},
		{"RegistrationFollowsItsValue", registerValue},
		{"RegistrationIsMadeAnew", registerAnew},
		{"OneLeads", electOne},
		{"NextLeadsAtOnce", electNext},
		{"LeadThatReturnsGivesWay", electReturns},
		{"CallsEndWithTheirContext", contexts},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, engine) })
	}
}

// space is a prefix of the test's own.
func space(t *testing.T) string {
	return "/storetest/" + strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()) + "/"
}

// within is a context that ends with the test, or when it hangs.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, s store.Store, key, value string, revision int64) store.Entry {
	t.Helper()
	e, err := s.Put(t.Context(), key, []byte(value), revision)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func get(t *testing.T, s store.Store, key string) store.Entry {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, hang)
		}
	}
}
