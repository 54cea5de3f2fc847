package kill

import "slices"

// Reconcile makes one state of two that replicas have of a target, which did not
// see each other for a while: the newer, unless the older is killed by an order
// that the newer never saw. Then kill wins: it does not matter that the target
// was revived meanwhile, by somebody who did not know. Of two kills the stricter
// mode holds. The result is never older than either, and one that differs from
// both has a generation and a record of its own, with at and replica.
//
// A state that lacks nothing of the other's is returned as it is.
func Reconcile(ours, theirs State, at Moment) State {
	newer, older := theirs, ours
	// Of two that have one number it is the one that is not killed, so that what comes
	// of them has a number of its own.
	if ours.Generation > theirs.Generation || ours.Generation == theirs.Generation && theirs.Killed && !ours.Killed {
		newer, older = ours, theirs
	}
	unseen := newer.unseen(older)
	out := newer.learn(older)
	if !older.Killed || len(unseen) == 0 {
		return out
	}
	out.Mode = older.Mode
	if newer.Killed {
		out.Mode = Stricter(older.Mode, newer.Mode)
	} else {
		out.Since, out.By, out.Reason = older.Since, older.By, older.Reason
	}
	out.Generation++
	out.Killed, out.Ramp, out.Asked = true, nil, nil
	return out.record(Record{
		At: at.At, Kind: KindMerged, ID: unseen[len(unseen)-1], By: older.By, Replica: at.Replica, Reason: older.Reason, Mode: out.Mode,
	})
}

// unseen are the orders that another state has seen and s has not, oldest first.
// All of them count, not the last alone: one that was taken without the store may
// stand before one of the store's that both have.
func (s State) unseen(other State) (orders []string) {
	for _, id := range other.Seen {
		if !slices.Contains(s.Seen, id) {
			orders = append(orders, id)
		}
	}
	return orders
}

// learn notes the orders that another state has seen, and its records that are
// not in the trail yet. Sequences, too, only grow.
func (s State) learn(other State) State {
	s.Sequence = max(s.Sequence, other.Sequence)
	if orders := s.unseen(other); len(orders) > 0 {
		s.Seen = append(slices.Clone(s.Seen), orders...)
		s.Seen = s.Seen[max(0, len(s.Seen)-mostSeen):]
	}
	if len(other.Outbox) > 0 {
		s.Outbox = with(s.Outbox, other.Outbox)
	}
	return s
}
