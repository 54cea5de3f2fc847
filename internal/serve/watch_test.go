package serve

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watched runs a watcher in a bubble and returns how often it called.
func watched(events <-chan fsnotify.Event, then func()) (calls []time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	w := &watcher{dir: "/c", events: events}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, func() { calls = append(calls, time.Since(began)) })
	}()
	then()
	cancel()
	<-done
	return calls
}

func pass(d time.Duration) { <-time.After(d) }

func TestAChangeIsReadOnceItHasComeToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan fsnotify.Event)
		calls := watched(events, func() {
			for range 2 {
				for range 3 {
					events <- fsnotify.Event{Name: "/c/a.yaml"}
					pass(settle / 2)
				}
				pass(mostUnrest)
			}
		})
		// The events of each change come at 0, settle/2 and settle.
		again := mostUnrest + settle*3/2
		if len(calls) != 2 || calls[0] != 2*settle || calls[1] != again+2*settle {
			t.Errorf("read at %v, want once a change, %s after its last event", calls, settle)
		}
	})
}

func TestAFolderThatNeverComesToRestIsReadAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan fsnotify.Event)
		calls := watched(events, func() {
			for range 60 {
				events <- fsnotify.Event{Name: "/c/a.yaml"}
				pass(settle / 2)
			}
		})
		if len(calls) < 2 || calls[0] > mostUnrest {
			t.Errorf("read at %v in 3 s of unrest", calls)
		}
	})
}

func TestWhatIsElsewhereIsNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan fsnotify.Event)
		calls := watched(events, func() {
			for _, name := range []string{"/other", "/c.yaml", "/c/deeper/a.yaml"} {
				events <- fsnotify.Event{Name: name}
			}
			pass(time.Second)
		})
		if len(calls) != 0 {
			t.Errorf("read at %v", calls)
		}
	})
}

func TestWithoutNotificationsTheFolderIsReadFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := watched(nil, func() { pass(2*recheck + time.Second) })
		if len(calls) != 2 || calls[0] != recheck {
			t.Errorf("read at %v", calls)
		}
	})
}

func TestAChangeBeforeTheWatchRunsIsNotMissed(t *testing.T) {
	dir := folder(t)
	w, err := newWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	write(t, filepath.Join(dir, "fraud.yaml"), "x")
	ctx, cancel := context.WithTimeout(t.Context(), recheck/2)
	defer cancel()
	called := false
	w.run(ctx, func() { called = true; cancel() })
	if !called {
		t.Error("missed")
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	w, err := newWatcher(filepath.Join(t.TempDir(), "none"))
	if err == nil {
		t.Error("no word of it")
	}
	w.again()
	w.close()
}
