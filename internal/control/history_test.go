package control

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// counting counts what is read of a store by pages.
type counting struct {
	store.Store
	pages, entries atomic.Int64
}

func (c *counting) Page(ctx context.Context, prefix, from string, limit int) ([]store.Entry, error) {
	out, err := c.Store.Page(ctx, prefix, from, limit)
	c.pages.Add(1)
	c.entries.Add(int64(len(out)))
	return out, err
}

// told has a model's state carry the last records of so many, and writes those.
func (b *bench) told(model string, from, to uint64, at time.Time) {
	b.t.Helper()
	s := release.New(model)
	for i := from; i <= to; i++ {
		s.Sequence = i
		s.Outbox = append(s.Outbox, release.Record{Sequence: i, Model: model, Kind: release.KindStep, By: release.By, At: at.Add(time.Duration(i) * time.Millisecond)})
	}
	b.control.book.mu.Lock()
	b.control.book.pages[model] = page{state: s}
	b.control.book.mu.Unlock()
	if err := b.control.record(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	s.Outbox = s.Outbox[len(s.Outbox)-1:] // as after the next change
	b.control.book.mu.Lock()
	b.control.book.pages[model] = page{state: s}
	b.control.book.mu.Unlock()
}

// alone is a bench whose control plane does nothing by itself.
func alone(t *testing.T, s store.Store) *bench {
	t.Helper()
	b := startOn(t, t.TempDir(), "one", s)
	b.stop()
	return b
}

// What a page of history costs does not grow with the history, and neither does what
// is kept.
func TestHistoryIsBounded(t *testing.T) {
	s := &counting{Store: storetest.NewMemory(time.Minute).Open()}
	b := alone(t, storetest.NewMemory(time.Minute).Open())
	b.control.o.Store = s
	const over = 300
	now := time.Now()
	for i := uint64(1); i <= keptRecords; i++ { // as it was written long ago
		text := fmt.Appendf(nil, `{"sequence":%d,"model":%q,"kind":"step"}`, i, fraud)
		if _, err := s.Put(t.Context(), historyKey(fraud, i), text, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.told(fraud, keptRecords+1, keptRecords+over, now)
	s.entries.Store(0)
	records, err := b.control.History(t.Context(), fraud, 5)
	if err != nil || len(records) != 5 || records[0].Sequence != keptRecords+over || records[4].Sequence != keptRecords+over-4 {
		t.Fatalf("%+v, %v", records, err)
	}
	if n := s.entries.Load(); n > 5+pruneMost {
		t.Errorf("%d records were read for 5", n)
	}
	all, err := s.List(t.Context(), historyOf(fraud))
	if err != nil || len(all) > keptRecords+pruneEvery || len(all) < keptRecords {
		t.Errorf("%d records are kept, %v", len(all), err)
	}
}

// Where the store has more than the state knows of, the newest are found all the same.
func TestHistoryThatTheStateHasForgotten(t *testing.T) {
	s := storetest.NewMemory(time.Minute).Open()
	b := alone(t, storetest.NewMemory(time.Minute).Open())
	b.control.o.Store = s
	b.told(fraud, 1, 500, time.Now())
	b.control.book.pages[fraud] = page{state: release.New(fraud)}
	records, err := b.control.History(t.Context(), fraud, 3)
	if err != nil || len(records) != 3 || records[0].Sequence != 500 {
		t.Errorf("%+v, %v", records, err)
	}
}

// The newest of a hundred models are read from those that have news.
func TestHistoryOfAllReadsThoseWithNews(t *testing.T) {
	s := &counting{Store: storetest.NewMemory(time.Minute).Open()}
	b := alone(t, storetest.NewMemory(time.Minute).Open())
	b.control.o.Store = s
	now, models := time.Now().Add(-time.Hour), []string{}
	for i := range 100 {
		models = append(models, fmt.Sprint("default/m", i))
		b.told(models[i], 1, 4, now.Add(time.Duration(i)*time.Second))
	}
	s.pages.Store(0)
	records, err := b.control.newest(t.Context(), models, 6)
	if err != nil || len(records) != 6 {
		t.Fatalf("%+v, %v", records, err)
	}
	for i, want := range []string{"default/m99", "default/m99", "default/m99", "default/m99", "default/m98", "default/m98"} {
		if records[i].Model != want {
			t.Errorf("record %d is of %s, want %s", i, records[i].Model, want)
		}
	}
	if n := s.pages.Load(); n > 3 {
		t.Errorf("%d models were read for 6 records", n)
	}
}
