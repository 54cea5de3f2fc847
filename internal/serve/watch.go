package serve

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the folder must be quiet before it is read: an editor or
// a ConfigMap writes several files for one change. A folder that never comes to
// rest is read after mostUnrest.
const (
	settle     = 100 * time.Millisecond
	mostUnrest = time.Second
)

// recheck is how often the folder is read without a notification: some file
// systems give none, and none comes for a file elsewhere that a link leads to.
const recheck = 30 * time.Second

// watcher tells when a folder has changed. It watches the folder that contains
// it too, so that it notices when the folder, or the link that it is, is
// replaced by another. It is used by one goroutine.
type watcher struct {
	dir     string // absolute
	inotify *fsnotify.Watcher
	events  <-chan fsnotify.Event // nil: no notifications
	errors  <-chan error
}

// newWatcher watches dir from now on. The error says why there will be no
// notifications, such as the system's limit of watches; run then reads the
// folder every recheck, and close is to be called all the same.
func newWatcher(dir string) (*watcher, error) {
	w := &watcher{dir: dir}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return w, err
	}
	w.dir = abs
	if w.inotify, err = fsnotify.NewWatcher(); err != nil {
		return w, err
	}
	w.events, w.errors = w.inotify.Events, w.inotify.Errors
	if err := w.inotify.Add(abs); err != nil {
		return w, err
	}
	// Not to see the folder replaced is what recheck is for.
	_ = w.inotify.Add(filepath.Dir(abs))
	return w, nil
}

func (w *watcher) close() {
	if w.inotify != nil {
		_ = w.inotify.Close()
	}
}

// run calls changed once the folder has changed and come to rest, and every
// recheck, until ctx ends.
func (w *watcher) run(ctx context.Context, changed func()) {
	quiet := time.NewTimer(settle)
	quiet.Stop()
	slow := time.NewTicker(recheck)
	defer slow.Stop()
	var since time.Time // the first change that was not acted on; zero: none
	stir := func() {
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		quiet.Reset(min(settle, since.Add(mostUnrest).Sub(now)))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events:
			switch {
			case e.Name == w.dir:
				w.again()
				stir()
			case filepath.Dir(e.Name) == w.dir:
				stir()
			}
		case <-w.errors: // lost events: read it all
			stir()
		case <-slow.C:
			w.again()
			changed()
		case <-quiet.C:
			since = time.Time{}
			changed()
		}
	}
}

// again watches what has the folder's name now. Where that is nothing, there
// is an event in the folder above once it is back.
func (w *watcher) again() {
	if w.inotify == nil {
		return
	}
	_ = w.inotify.Remove(w.dir)
	_ = w.inotify.Add(w.dir)
}
