package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/safestate/safestate/internal/kill"
)

// EnforcedFile is the name, in the data folder, of what is killed by the control
// plane's last word.
const EnforcedFile = "kills-enforced.json"

// Enforced is what is killed as far as this host was ever told. Its methods are safe
// for concurrent use.
type Enforced struct {
	live *kill.Live
	kept kept

	mu    sync.Mutex // held while a set is put in force
	known bool
}

// OpenEnforced starts from what the data folder has; empty: there is none, and
// nothing is known until the control plane has spoken. A file that cannot be read is
// an error: what it says may be that a model is killed. problem is told of a file
// that cannot be written.
func OpenEnforced(dir string, problem func(error)) (*Enforced, error) {
	e := &Enforced{live: kill.NewLive(nil)}
	text, ok, err := e.kept.open(dir, EnforcedFile, problem)
	if err != nil || !ok {
		return e, err
	}
	var set kill.Set
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return nil, e.kept.unreadable(err)
	}
	e.live.Store(&set)
	e.known = true
	return e, nil
}

// Live is what is in force.
func (e *Enforced) Live() *kill.Live { return e.live }

// Known reports whether anything was ever said of what is killed: by a control
// plane, or by one before a restart.
func (e *Enforced) Known() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known
}

// Take puts a control plane's word in force, as kill.Heed decides, then on the disk.
// A word that cannot be read changes nothing.
func (e *Enforced) Take(word string) error {
	var said kill.Set
	if err := json.Unmarshal([]byte(word), &said); err != nil {
		return fmt.Errorf("the set of kills cannot be read, and the one before stays in force: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	before, _ := e.live.Load()
	now, older := kill.Heed(before, &said)
	text, err := textOf(now)
	if was, _ := textOf(before); err != nil || !e.known || text != was { // else all that follow it would look anew
		e.live.Store(now)
	}
	e.known = true
	e.kept.put(text)
	return errors.Join(older, err)
}

func textOf(s *kill.Set) (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}

// Unsaved is why the data folder does not have what is in force; nil: it has, or
// there is none.
func (e *Enforced) Unsaved() error { return e.kept.trouble() }

// Close ends tries to write.
func (e *Enforced) Close() { e.kept.close() }
