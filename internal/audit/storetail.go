package audit

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/safestate/safestate/internal/store"
)

// storeTail reads what the store has of a chain, from its end. Others may write to
// the store: an entry is taken where it is the one that the later one follows, or
// signed by the writer.
type storeTail struct {
	store   store.Store
	record  record
	missing *string // what was left out first

	due  uint64 // the entry that comes next
	want Hash   // its hash; zero: it is not known
}

// entries reads a page at a time.
func (t *storeTail) entries(ctx context.Context) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		h := t.record.Head
		t.due, t.want = h.Sequence, h.Hash
		for end := h.Sequence; end > 0; {
			start := max(end, pageEntries) - pageEntries + 1
			page, err := t.store.Page(ctx, entriesOf(h.Writer), entryKey(h.Writer, start), int(end-start+1))
			if err != nil {
				t.leaveOut("entries of %s: %s", h.Writer, clip(err.Error()))
				return
			}
			for _, stored := range slices.Backward(page) {
				if stored.Key > entryKey(h.Writer, end) {
					continue // it came since
				}
				if e, ok := t.take(stored); ok && !yield(e) {
					return
				}
			}
			if len(page) == 0 {
				return // what is older was removed
			}
			end = start - 1
		}
	}
}

// take checks one entry.
func (t *storeTail) take(stored store.Entry) (Entry, bool) {
	writer := t.record.Head.Writer
	e, err := Parse(stored.Value)
	genuine := err == nil && e.Writer == writer && stored.Key == entryKey(writer, e.Sequence) && intact(stored.Value, &e) &&
		(e.Sequence == t.due && e.Hash == t.want || signed(stored.Value, &e, t.record.Key))
	if !genuine {
		t.leaveOut("%s: the store has something else there than its writer wrote", stored.Key)
		return e, false
	}
	if e.Sequence < t.due {
		t.leaveOut("entries %d to %d of %s: they are not as written in the store", e.Sequence+1, t.due, writer)
	}
	t.due, t.want = e.Sequence-1, e.Prev
	return e, true
}

// leaveOut keeps what was left out first.
func (t *storeTail) leaveOut(format string, arguments ...any) {
	if *t.missing == "" {
		*t.missing = fmt.Sprintf(format, arguments...)
	}
}
