package audit

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Filter says which entries to list. What is empty does not filter.
type Filter struct {
	Writer string
	Kinds  []Kind
	Target string // it, or what is within it: "shop/fraud" has "shop/fraud/v2" too
	Actor  string // the name
	Since  time.Time
	Until  time.Time
	Limit  int // default 100, at most 10,000
}

// Bounds of a list.
const (
	defaultLimit = 100
	maxLimit     = 10_000
	listBytes    = 16 << 20
	mostScanned  = 200_000 // entries that are looked at for one
	scansBetween = 256     // two looks at whether it is still wanted
)

func (f Filter) takes(e *Entry) bool {
	switch {
	case len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind),
		f.Target != "" && e.Target != f.Target && !strings.HasPrefix(e.Target, f.Target+"/"),
		f.Actor != "" && e.Actor.Name != f.Actor,
		!f.Until.IsZero() && e.At.After(f.Until):
		return false
	}
	return true
}

// List is what a filter found.
type List struct {
	Entries []Entry `json:"entries"` // the newest first
	More    bool    `json:"more"`    // there are more than the limit, or than 16 MiB
	// Missing says what is not in it: the others' entries while the store is away,
	// what somebody else wrote there, or all that is older than what was looked at.
	Missing string `json:"missing,omitempty"`
}

// List returns entries of all writers: the log's own from its folder, the others'
// from the store, each as its writer wrote it. It looks at no more of them than it
// has to, and at 200,000 at most. One is made at a time; it ends with ctx.
func (l *Log) List(ctx context.Context, f Filter) (List, error) {
	select {
	case l.listing <- struct{}{}:
		defer func() { <-l.listing }()
	case <-ctx.Done():
		return List{}, ctx.Err()
	}
	end, _ := l.position()
	tails, err := folderTails(l.o.Dir)
	if err != nil {
		return List{}, err
	}
	for i := range tails {
		if tails[i].writer == end.writer.String() {
			tails[i].last = end.sequence // what comes later is not yet acknowledged
		}
	}
	missing := ""
	if l.o.Store != nil {
		others, err := l.others(ctx)
		if err != nil {
			missing = "entries of other replicas: " + clip(err.Error())
		}
		for i := range others {
			h := others[i].Head
			tails = append(tails, tail{writer: h.Writer, newest: h.At, entries: (&storeTail{store: l.o.Store, record: others[i], missing: &missing}).entries(ctx)})
		}
	}
	list, err := merge(ctx, f, tails)
	list.Missing = cmp.Or(missing, list.Missing)
	return list, err
}

// ListFolder returns entries of a log's folder, for when no process runs.
func ListFolder(dir string, f Filter) (List, error) {
	tails, err := folderTails(dir)
	if err != nil {
		return List{}, err
	}
	return merge(context.Background(), f, tails)
}

// tail is a chain, to be read from its end.
type tail struct {
	writer  string
	newest  time.Time // none of its entries is later; zero: nobody knows
	last    uint64    // no entry after it; 0: all
	entries iter.Seq[Entry]

	next func() (Entry, bool) // nil until the first is asked for
	stop func()
	head Entry
	over bool
}

// merge takes from all chains, the newest first. A chain is not opened before
// its turn.
func merge(ctx context.Context, f Filter, tails []tail) (List, error) {
	limit := min(cmp.Or(max(f.Limit, 0), defaultLimit), maxLimit)
	list, size := List{Entries: []Entry{}}, 0
	for i := range tails {
		tails[i].over = f.Writer != "" && tails[i].writer != f.Writer
	}
	defer func() {
		for i := range tails {
			if tails[i].stop != nil {
				tails[i].stop()
			}
		}
	}()
	for scanned := 0; ; scanned++ {
		t := newest(tails)
		if t == nil {
			return list, nil
		}
		if scanned%scansBetween == 0 && ctx.Err() != nil {
			return list, ctx.Err()
		}
		if t.next == nil {
			t.next, t.stop = iter.Pull(t.entries)
			t.advance(f)
			continue
		}
		e := t.head
		if scanned >= mostScanned {
			list.More = true
			list.Missing = fmt.Sprintf("what is older than %s: %d entries were looked at, and no more are", e.At.Format(time.RFC3339), mostScanned)
			return list, nil
		}
		t.advance(f)
		if t.last != 0 && e.Sequence > t.last || !f.takes(&e) {
			continue
		}
		size += len(e.Before) + len(e.After) + len(e.Evidence) + 1000
		if len(list.Entries) == limit || size > listBytes {
			list.More = true
			return list, nil
		}
		list.Entries = append(list.Entries, e)
	}
}

// newest is the chain whose next entry is the latest, as far as is known.
func newest(tails []tail) *tail {
	var found *tail
	for i := range tails {
		t := &tails[i]
		if t.over {
			continue
		}
		if t.newest.IsZero() {
			return t // it has to be opened to be known
		}
		if found == nil || t.newest.After(found.newest) {
			found = t
		}
	}
	return found
}

func (t *tail) advance(f Filter) {
	e, ok := t.next()
	// Times never go back within a chain.
	t.over = !ok || !f.Since.IsZero() && e.At.Before(f.Since)
	t.head, t.newest = e, e.At
}

func folderTails(dir string) ([]tail, error) {
	writers, err := writersIn(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var tails []tail
	for _, w := range writers {
		tails = append(tails, tail{writer: w.String(), entries: fileTail(filepath.Join(dir, w.String()))})
	}
	return tails, nil
}

// fileTail reads a chain's folder from its end, a segment at a time. What is no
// entry is left out: Verify says so.
func fileTail(dir string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		segments, _ := segmentsOf(dir) // a folder that cannot be read has none
		for _, name := range slices.Backward(segments) {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return
			}
			text = text[:bytes.LastIndexByte(text, '\n')+1]
			for len(text) > 0 {
				text = text[:len(text)-1]
				start := bytes.LastIndexByte(text, '\n') + 1
				e, err := Parse(text[start:])
				text = text[:start]
				if err == nil && !yield(e) {
					return
				}
			}
		}
	}
}
