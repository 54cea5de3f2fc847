package serve

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the folder must be quiet before it is read: an editor or
// a ConfigMap writes several files for one change.
const settle = 100 * time.Millisecond

// recheck is how often the folder is read without a notification: some file
// systems give none.
const recheck = 30 * time.Second

// watch calls changed once the folder has changed and come to rest, until ctx
// ends. Where the folder cannot be watched, it is read every recheck.
func watch(ctx context.Context, dir string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	if err := w.Add(dir); err != nil {
		return err
	}
	quiet := time.NewTimer(settle)
	quiet.Stop()
	slow := time.NewTicker(recheck)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			quiet.Reset(settle)
		case <-w.Errors: // lost events: read it all
			quiet.Reset(settle)
		case <-slow.C:
			changed()
		case <-quiet.C:
			changed()
		}
	}
}
