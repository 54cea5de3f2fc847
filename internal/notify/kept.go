package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// kept is what outlives a restart, by receiver.
type kept struct {
	Version   int                     `json:"version"`
	Receivers map[string]keptReceiver `json:"receivers"`
}

type keptReceiver struct {
	Seen     []string         `json:"seen"`     // IDs, the oldest first
	Last     map[string]Event `json:"last"`     // of each condition
	Messages []message        `json:"messages"` // not delivered
	Waiting  []Event          `json:"waiting"`  // for their window
}

const keptVersion = 1

// follow keeps what changes until ctx ends.
func (n *Notifier) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.dirty:
			n.keep()
		}
	}
}

// keep writes what there is. A disk that does not take it is told once it does.
func (n *Notifier) keep() {
	if n.options.Path == "" {
		return
	}
	k := kept{keptVersion, map[string]keptReceiver{}}
	for _, r := range n.receivers {
		k.Receivers[r.settings.Name] = r.kept()
	}
	text, err := json.Marshal(k)
	if err == nil {
		err = replace(n.options.Path, text)
	}
	if err != nil {
		n.options.Told(fmt.Sprintf("notifications that wait are not kept over a restart: %v", err), true)
	}
}

func (r *receiver) kept() keptReceiver {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := keptReceiver{Seen: append([]string{}, r.book.seen...), Last: map[string]Event{}, Messages: append([]message{}, r.messages...)}
	for key, e := range r.book.last {
		out.Last[key] = e
	}
	for _, g := range r.book.groups {
		out.Waiting = append(out.Waiting, g.waiting...)
	}
	return out
}

// recall takes up what a former process kept.
func (n *Notifier) recall() {
	if n.options.Path == "" {
		return
	}
	text, err := os.ReadFile(n.options.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err == nil && k.Version != keptVersion {
		err = fmt.Errorf("it has version %d; want %d", k.Version, keptVersion)
	}
	if err != nil {
		n.options.Told(fmt.Sprintf("notifications of before the restart are lost: %s: %v", n.options.Path, err), true)
		return
	}
	for _, r := range n.receivers {
		r.recall(k.Receivers[r.settings.Name])
	}
}

func (r *receiver) recall(k keptReceiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := map[string]bool{}
	for _, e := range k.Waiting {
		waiting[e.ID] = true
	}
	for _, id := range k.Seen {
		if !waiting[id] {
			r.book.remember(id)
		}
	}
	for key, e := range k.Last {
		r.book.last[key] = e
	}
	for _, m := range k.Messages {
		if len(m.Events) > 0 {
			r.messages = append(r.messages, m)
		}
	}
	for _, e := range k.Waiting {
		r.book.add(e, r.options.Now())
	}
}

// replace writes a file whole or not at all.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
