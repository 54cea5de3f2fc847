package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// record puts the records that the models' states carry into their history. Each
// has a key of its own that is written once, so whoever does it again, after a
// crash in between or on another replica, changes nothing.
func (c *Control) record(ctx context.Context) {
	for model, state := range c.book.all() {
		for i := range state.Outbox {
			r := &state.Outbox[i]
			if r.Sequence <= c.book.written(model) {
				continue
			}
			if err := c.put(ctx, r); err != nil {
				c.o.Log.Warn().Err(err).Str("model", model).Msg("a record is not in the history yet")
				break // in their order
			}
			c.book.wrote(model, r.Sequence)
		}
	}
}

func (c *Control) put(ctx context.Context, r *release.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := historyKey(r.Model, r.Sequence)
	_, err = c.o.Store.Put(ctx, key, text, 0)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	there, err := c.o.Store.Get(ctx, key)
	if err != nil || bytes.Equal(there.Value, text) {
		return err // it is there
	}
	// Two replicas that did not see each other have given out one number: both
	// records stay.
	_, err = c.o.Store.Put(ctx, key+besides(text), text, 0)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// besides tells records of one number apart.
func besides(text []byte) string {
	sum := sha256.Sum256(text)
	return "-" + hex.EncodeToString(sum[:4])
}

// History returns a model's records, the newest first; at most limit of them
// where that is more than 0.
func (c *Control) History(ctx context.Context, model string, limit int) ([]release.Record, error) {
	entries, err := c.o.Store.List(ctx, historyOf(model))
	if err != nil {
		return nil, err
	}
	written := map[uint64]bool{}
	var out []release.Record
	for i := len(entries) - 1; i >= 0; i-- {
		var r release.Record
		if err := json.Unmarshal(entries[i].Value, &r); err != nil {
			return nil, err
		}
		written[r.Sequence] = true
		out = append(out, r)
	}
	pending := c.book.get(model).state.Outbox
	for i := range pending { // oldest first, each newer than what is written
		if !written[pending[i].Sequence] {
			out = append([]release.Record{pending[i]}, out...)
		}
	}
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}
