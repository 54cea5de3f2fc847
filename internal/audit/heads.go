package audit

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Status is how a log does.
type Status struct {
	Writer string `json:"writer"`
	// Sequence and Hash of the last entry on the disk.
	Sequence uint64 `json:"sequence"`
	Hash     Hash   `json:"hash"`
	// Damage says why this chain goes on for another; empty: it does not, or not
	// since this process began.
	Damage string `json:"damage,omitempty"`
	// WriteError says why the last write to the disk failed; empty: it did not.
	WriteError string `json:"writeError,omitempty"`
	// Stored is the last entry that is in the store as well; StoreError says why
	// there are no later ones.
	Stored     uint64         `json:"stored"`
	StoreError string         `json:"storeError,omitempty"`
	Anchors    []AnchorStatus `json:"anchors,omitempty"`
	// Peers are the other writers that were seen in the store.
	Peers int `json:"peers"`
}

// AnchorStatus is how an anchor does.
type AnchorStatus struct {
	Anchor string `json:"anchor"`
	// Sequence and At of the last head that it keeps.
	Sequence uint64    `json:"sequence"`
	At       time.Time `json:"at,omitzero"`
	Error    string    `json:"error,omitempty"` // of the last try
}

// Status returns how the log does.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.Writer, s.Sequence, s.Hash = l.end.writer.String(), l.end.sequence, l.end.hash
	s.Anchors = append([]AnchorStatus(nil), s.Anchors...)
	return s
}

// Head signs the chain as it is on the disk.
func (l *Log) Head() Witness {
	end, _ := l.position()
	return l.sign(end)
}

func (l *Log) sign(end position) Witness {
	return newHead(end.writer.String(), end.sequence, end.hash, time.Now(), l.key)
}

// heads signs a head every HeadEvery entries, and HeadInterval after an entry at
// the latest: for the chain's own folder and for the anchors. It does so once
// more when ctx ends, and ends the boxes.
func (l *Log) heads(ctx context.Context, boxes []*box) {
	var last position // that was signed
	var since time.Time
	for {
		end, changed := l.position()
		fresh := end.sequence - last.sequence
		if end.writer != last.writer {
			fresh = end.sequence
		}
		if fresh > 0 && since.IsZero() {
			since = time.Now()
		}
		wait := l.o.HeadInterval - time.Since(since)
		ending := ctx.Err() != nil
		if fresh > 0 && (fresh >= l.o.HeadEvery || wait <= 0 || ending) {
			l.tell(l.sign(end), boxes)
			last, since = end, time.Time{}
			continue
		}
		if ending {
			for _, b := range boxes {
				b.end()
			}
			return
		}
		var due <-chan time.Time
		if fresh > 0 {
			due = time.After(wait)
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
		}
	}
}

func (l *Log) tell(head Witness, boxes []*box) {
	w, _ := parseWriter(head.Head.Writer)
	if err := replaceFile(filepath.Join(l.dirOf(w), headFile), append(head.Line(), '\n'), 0o600); err != nil {
		l.o.Warn(fmt.Sprintf("audit: the signed head cannot be written: %v", folderFault(l.o.Dir, err)))
	}
	for _, b := range boxes {
		b.put(head)
	}
}

// anchoring starts the anchors.
func (l *Log) anchoring() []*box {
	boxes := make([]*box, len(l.o.Anchors))
	l.status.Anchors = make([]AnchorStatus, len(l.o.Anchors))
	for i, a := range l.o.Anchors {
		boxes[i] = newBox(a)
		status := &l.status.Anchors[i]
		status.Anchor = a.String()
		l.work.Go(func() {
			boxes[i].run(
				func(h Head) {
					l.mu.Lock()
					defer l.mu.Unlock()
					status.Sequence, status.At, status.Error = h.Sequence, h.At, ""
				},
				func(err error) {
					l.mu.Lock()
					fresh := status.Error == ""
					status.Error = clip(err.Error())
					l.mu.Unlock()
					if fresh {
						l.o.Warn(fmt.Sprintf("audit: %s does not keep the signed head: %s", a, clip(err.Error())))
					}
				})
		})
	}
	return boxes
}
