package audit

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Open reads the chain in a folder and goes on with it. It takes about ten
// seconds for each million entries. When it returns, the entry that says that
// this process began to write is on the disk.
//
// An unfinished line at the end is what a crash leaves: it is removed, and an
// entry says so. Anything else that is wrong ends the chain: its files stay as
// they are, a new chain of the next number begins beside it with an entry that
// names the damage, and Warn is told. The actions of people are not held up by
// it, and [Verify] reports the damage from then on.
func Open(o Options) (*Log, error) {
	o = o.withDefaults()
	if !validName(o.Name) {
		return nil, fmt.Errorf("audit: a replica called %q: want letters, digits, '.', '-' and '_', at most %d", clip(o.Name), maxReplica)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", folderFault(o.Dir, err))
	}
	lock, err := lockFolder(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l := &Log{
		o: o, lock: lock, wake: make(chan struct{}, 1), listing: make(chan struct{}, 1), damaged: make(chan damage), quit: make(chan struct{}),
		stopped: make(chan struct{}), inFlight: map[string]*item{}, changed: make(chan struct{}),
	}
	if err := l.begin(); err != nil {
		_ = lock.Close() // the error before says more
		return nil, fmt.Errorf("audit: %w", err)
	}
	l.run()
	return l, nil
}

// begin finds the chain to go on with, or makes one, and writes its first
// entries of this process.
func (l *Log) begin() error {
	key, made, err := loadKey(l.o.Dir)
	if err != nil {
		return err
	}
	l.key = key
	found, err := writersIn(l.o.Dir)
	if err != nil {
		return folderFault(l.o.Dir, err)
	}
	me := writer{name: l.o.Name, fingerprint: Fingerprint(publicOf(key)), chain: 1}
	var lost *damage
	for _, w := range found {
		switch {
		case w.name == me.name && w.fingerprint == me.fingerprint:
			me = w // the last of them
		case w.name == me.name && made:
			lost = &damage{Problem: Problem{Writer: w.String(), Fault: Missing, Detail: "its private key is gone"}}
		}
	}
	l.adopt(me)
	var ids idSet
	cut, broken, err := resume(l.chain, func(e *Entry) { ids.add(e.ID, e.Sequence) })
	if err != nil {
		return err
	}
	if broken != nil {
		return l.renew(&damage{Problem: *broken})
	}
	l.ids = ids
	first := []Entry{l.started()}
	if me.chain > 1 && l.chain.sequence == 0 {
		before := me
		before.chain--
		lost = &damage{Problem: Problem{Writer: before.String(), Fault: Missing, Detail: "this chain goes on for it, and the reason could not be written down: verify it"}}
	}
	if lost != nil {
		first = append(first, l.broken(lost))
	}
	if cut != nil {
		l.o.Warn(fmt.Sprintf("audit: a crash left %d bytes of an unfinished entry at the end of %s: they are removed", cut.Bytes, cut.Where))
		first = append(first, own(KindCut, l.chain.writer.String(), "a crash left a line unfinished; nobody was told that it was written", cut))
	}
	return l.lead(first)
}

// adopt takes a writer's chain.
func (l *Log) adopt(w writer) {
	open := openDisk
	if l.chain != nil {
		open = l.chain.open
		l.chain.drop()
	}
	l.chain = &chain{dir: l.dirOf(w), writer: w, key: l.key, limit: l.o.SegmentBytes, open: open}
}

// damage is why a chain must not go on.
type damage struct {
	Problem
	seen *Witness // a head that the chain had once; nil: none is at hand
}

// renew begins the next chain, because the present one must not go on.
func (l *Log) renew(d *damage) error {
	old := l.chain
	next := old.writer.next()
	found, err := writersIn(l.o.Dir)
	if err != nil {
		return folderFault(l.o.Dir, err)
	}
	for _, w := range found {
		if w == next {
			next = next.next()
		}
	}
	l.o.Warn(fmt.Sprintf("audit: THE CHAIN %s IS DAMAGED and is not written to any more: %s. A new one begins: %s. Keep the old files",
		old.writer, d, next))
	l.adopt(next)
	l.mu.Lock()
	l.ids = idSet{}
	l.status.Damage = d.String()
	l.mu.Unlock()
	return l.lead([]Entry{l.started(), l.broken(d)})
}

// lead writes the log's own first entries. Where it cannot, they come before the
// next one that is written.
func (l *Log) lead(entries []Entry) error {
	l.first = entries
	for i := range entries {
		var err error
		if entries[i], err = entries[i].prepared(); err != nil {
			return err
		}
	}
	written, err := l.chain.write(entries, time.Now())
	l.first = entries[len(written):]
	l.publish(written)
	return err
}

// own makes an entry of the log itself.
func own(kind Kind, target, reason string, evidence any) Entry {
	text, err := json.Marshal(evidence)
	if err != nil {
		text = []byte(err.Error())
	}
	return Entry{ID: rand.Text(), Kind: kind, Actor: Actor{Name: "safestate"}, Target: target, Reason: reason, Evidence: text}
}

func (l *Log) started() Entry {
	e := own(KindStart, l.chain.writer.String(), "", map[string]any{"public_key": l.key.Public()})
	e.After = l.o.About
	return e
}

// broken is the entry that names a chain that must not go on, and bears witness
// to it as a join does.
func (l *Log) broken(d *damage) Entry {
	return own(KindBreak, d.Writer, d.String(), struct {
		Problem  Problem `json:"problem"`
		*Witness         // its members, where there is one
	}{d.Problem, d.seen})
}
