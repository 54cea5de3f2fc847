package control

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// record puts the records that the models' states carry into their history. Each
// has a key of its own that is written once, so whoever does it again, after a
// crash in between or on another replica, changes nothing. The error is the trail's: a
// record that it does not take comes again.
func (c *Control) record(ctx context.Context) (untold error) {
	for model, state := range c.book.all() {
		behind := false // a record of the model is not in the trail
		for i := range state.Outbox {
			r := &state.Outbox[i]
			if r.Sequence <= c.book.written(model) {
				continue
			}
			fresh, err := c.put(ctx, r)
			if err != nil {
				c.o.Log.Warn().Err(err).Str("model", model).Msg("a record is not in the history yet")
				break // in their order
			}
			if untold == nil {
				untold = c.note(releaseEntry(r))
			}
			if behind = behind || untold != nil; !behind {
				c.book.wrote(model, r.Sequence)
			}
			if c.o.Recorded != nil && (fresh || !behind && time.Since(r.At) < maybeUntold) {
				c.o.Recorded(*r)
			}
			if r.Sequence%pruneEvery == 0 {
				c.prune(ctx, model, r.Sequence)
			}
		}
	}
	return untold
}

// maybeUntold is how long who wrote a record may take to tell of it: where it is
// gone by then another tells, and else maybe both.
const maybeUntold = 10 * time.Second

// put writes a record; fresh says that it was not there.
func (c *Control) put(ctx context.Context, r *release.Record) (fresh bool, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	key := historyKey(r.Model, r.Sequence)
	_, err = c.o.Store.Put(ctx, key, text, 0)
	if !errors.Is(err, store.ErrConflict) {
		return err == nil, err
	}
	there, err := c.o.Store.Get(ctx, key)
	if err != nil || bytes.Equal(there.Value, text) {
		return false, err // it is there
	}
	// Two replicas that did not see each other have given out one number: both
	// records stay.
	_, err = c.o.Store.Put(ctx, key+besides(text), text, 0)
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// besides tells records of one number apart.
func besides(text []byte) string {
	sum := sha256.Sum256(text)
	return "-" + hex.EncodeToString(sum[:4])
}

const (
	// keptRecords of a model's history stay, the newest.
	keptRecords = 10_000
	// Every so many records the history is pruned, of at most so many: what a store
	// has over the bound, as after a crash, goes bit by bit.
	pruneEvery, pruneMost = 16, 64
)

// prune takes the oldest records out of a model's history where it has more than
// are kept; last is the newest.
func (c *Control) prune(ctx context.Context, model string, last uint64) {
	if last <= keptRecords {
		return
	}
	first := historyKey(model, last-keptRecords+1)
	oldest, err := c.o.Store.Page(ctx, historyOf(model), "", pruneMost)
	for i := range oldest {
		if err != nil || oldest[i].Key >= first {
			break
		}
		if err = c.o.Store.Delete(ctx, oldest[i].Key, oldest[i].Revision); errors.Is(err, store.ErrNotFound) {
			err = nil // another was first
		}
	}
	if err != nil && ctx.Err() == nil {
		c.o.Log.Warn().Err(err).Str("model", model).Msg("old records stay in the history for now")
	}
}

// History returns a model's newest records, the newest first; limit 0 is
// admin.MaxLimit.
func (c *Control) History(ctx context.Context, model string, limit int) ([]release.Record, error) {
	if limit <= 0 {
		limit = admin.MaxLimit
	}
	state := c.book.get(model).state
	entries, err := c.tail(ctx, model, state.Sequence, limit)
	if err != nil {
		return nil, err
	}
	written := map[uint64]bool{}
	var out []release.Record
	for _, e := range slices.Backward(entries) {
		var r release.Record
		if err := json.Unmarshal(e.Value, &r); err != nil {
			return nil, err
		}
		written[r.Sequence] = true
		out = append(out, r)
	}
	pending := state.Outbox
	for i := range pending { // oldest first, each newer than what is written
		if !written[pending[i].Sequence] {
			out = append([]release.Record{pending[i]}, out...)
		}
	}
	return out[:min(len(out), limit)], nil
}

// tail reads the last records of a model's history, at least limit of them where it
// has so many. Records are numbered without gaps, so where to begin is known; where
// the store has more after it than it should, it is read to its end.
func (c *Control) tail(ctx context.Context, model string, last uint64, limit int) ([]store.Entry, error) {
	from, most := historyKey(model, last+1-min(last, uint64(limit))), limit+pruneMost
	var out []store.Entry
	for {
		page, err := c.o.Store.Page(ctx, historyOf(model), from, most)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		out = out[max(0, len(out)-most):]
		if len(page) < most {
			return out, nil
		}
		from = page[len(page)-1].Key + "-" // the first key after it
	}
}

// newest are the newest records of several models. It reads those that have news
// first, and at most limit of them: what a model's newest record is, is known here.
func (c *Control) newest(ctx context.Context, models []string, limit int) ([]release.Record, error) {
	last := make(map[string]time.Time, len(models))
	for _, model := range models {
		switch s := c.book.get(model).state; {
		case len(s.Outbox) > 0:
			last[model] = s.Outbox[len(s.Outbox)-1].At
		case s.Sequence > 0: // not known: it may be now
			last[model] = time.Now()
		}
	}
	models = slices.SortedFunc(maps.Keys(last), func(x, y string) int {
		return cmp.Or(last[y].Compare(last[x]), cmp.Compare(x, y))
	})
	out := []release.Record{}
	for _, model := range models {
		if len(out) == limit && !last[model].After(out[limit-1].At) {
			break
		}
		records, err := c.History(ctx, model, limit)
		if err != nil {
			return out, err
		}
		out = append(out, records...)
		slices.SortStableFunc(out, func(x, y release.Record) int { return y.At.Compare(x.At) })
		out = out[:min(len(out), limit)]
	}
	return out, nil
}
