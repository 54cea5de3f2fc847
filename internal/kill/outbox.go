package kill

import (
	"fmt"
	"slices"
)

// Bounds of a state's records.
const (
	mostOutbox  = 64 // in all
	mostTrailed = 8  // of those that are in a trail: who was away is to know that they are
)

// Ack notes of records that they are in a trail. The newest of those are kept.
func (s State) Ack(told func(Record) bool) State {
	s.Outbox = slices.Clone(s.Outbox)
	for i := range s.Outbox {
		s.Outbox[i].Trailed = s.Outbox[i].Trailed || told(s.Outbox[i])
	}
	s.Outbox = bounded(s.Outbox)
	return s
}

// with adds records to an outbox. One that it has already is in a trail where
// either says so.
func with(outbox, more []Record) []Record {
	outbox = slices.Clone(outbox)
	var others []Record
	for _, r := range more {
		same := func(x Record) bool { return x.Key() == r.Key() }
		if i := slices.IndexFunc(outbox, same); i >= 0 {
			outbox[i].Trailed = outbox[i].Trailed || r.Trailed
		} else {
			others = append(others, r)
		}
	}
	return bounded(append(others, outbox...))
}

// bounded keeps an outbox, which is nobody else's, within its bounds. What is in a
// trail gives way first. What is not is never dropped: the oldest become one record
// that counts them.
func bounded(outbox []Record) []Record {
	trailed := 0
	for _, r := range outbox {
		if r.Trailed {
			trailed++
		}
	}
	outbox = slices.DeleteFunc(outbox, func(r Record) bool {
		drop := r.Trailed && trailed > mostTrailed
		if drop {
			trailed--
		}
		return drop
	})
	for len(outbox) > mostOutbox {
		i := slices.IndexFunc(outbox, func(r Record) bool { return !r.Trailed })
		j := i + 1 + slices.IndexFunc(outbox[i+1:], func(r Record) bool { return !r.Trailed })
		outbox[j] = outbox[i].and(outbox[j])
		outbox = slices.Delete(outbox, i, i+1)
	}
	return outbox
}

// and makes one record of two that follow each other.
func (r Record) and(next Record) Record {
	count := max(r.Count, 1) + max(next.Count, 1)
	return Record{
		Sequence: next.Sequence, At: next.At, Kind: KindCounted, Target: next.Target, Generation: next.Generation, By: "safestate", Replica: next.Replica,
		Count: count, Reason: fmt.Sprintf("%d changes up to generation %d have no entry of their own: no trail took them in time", count, next.Generation),
	}
}
