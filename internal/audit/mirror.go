package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// Where the store has chains: each entry's line, and a record of each writer.
const (
	entriesPrefix = "/safestate/v1/audit/"
	headsPrefix   = "/safestate/v1/audit-heads/"
)

func entriesOf(writer string) string { return entriesPrefix + writer + "/" }

func entryKey(writer string, sequence uint64) string {
	return fmt.Sprintf("%s%016d", entriesOf(writer), sequence)
}

// record is what the store knows of a writer.
type record struct {
	Witness
	// News is the last entry that is no join: what others have not seen yet.
	News uint64 `json:"news"`
}

// mirror brings a log's chain into the store, and the others' heads into the
// chain. One goroutine runs it.
type mirror struct {
	l      *Log
	store  store.Store
	cursor *cursor

	writer   writer
	synced   bool   // known and revision are what the store has
	known    record // of our chain; the zero record: none
	revision int64
	put      time.Time // when the record was written last
	pruned   uint64    // our last entry when the oldest were last removed

	away  bool // the last call failed
	peers map[string]*peer
	odd   map[string]bool // keys that hold what is no head, and Warn was told of
}

func newMirror(l *Log) *mirror {
	return &mirror{l: l, store: l.o.Store, peers: map[string]*peer{}, odd: map[string]bool{}}
}

// How long a mirror waits after a call that failed, and at the end.
const (
	retryAfter = time.Second
	lastPush   = 2 * time.Second
)

func (m *mirror) run(ctx context.Context) {
	seen := m.store.Watch(ctx, headsPrefix)
	for {
		end, changed := m.l.position()
		err := m.round(ctx, end)
		if ctx.Err() != nil {
			break
		}
		m.tell(err)
		wait := max(m.l.o.Heartbeat-time.Since(m.put), time.Millisecond)
		if err != nil {
			wait, changed = retryAfter/2+rand.N(retryAfter), nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case events, ok := <-seen:
			if !ok {
				seen = nil
			}
			m.meet(events, time.Now())
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			break
		}
	}
	if m.away {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPush)
	defer cancel()
	end, _ := m.l.position()
	_ = m.push(last, end) // the next process makes up for it
}

// round does what is due.
func (m *mirror) round(ctx context.Context, end position) error {
	if err := m.push(ctx, end); err != nil {
		return err
	}
	if m.away { // the others' heads of before say nothing of the time between
		entries, err := m.store.List(ctx, headsPrefix)
		if err != nil {
			return err
		}
		for _, e := range entries {
			m.meet([]store.Event{{Entry: e}}, time.Now())
		}
		for _, p := range m.peers {
			p.due = "after an outage"
		}
	}
	m.join(ctx, time.Now())
	return nil
}

// tell keeps the status, and warns at the start of an outage.
func (m *mirror) tell(err error) {
	text := ""
	if err != nil {
		text = clip(err.Error())
	}
	if err != nil && !m.away {
		m.l.o.Warn("audit: the chain is not in the store for now, only in its file: " + text)
	}
	m.away = err != nil
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	m.l.status.StoreError, m.l.status.Peers = text, len(m.peers)
	m.l.status.Stored = m.known.Head.Sequence
}

// push brings the store up to the end of the chain.
func (m *mirror) push(ctx context.Context, end position) error {
	if end.writer != m.writer {
		m.writer, m.synced, m.pruned = end.writer, false, 0
		m.cursor = &cursor{dir: m.l.dirOf(end.writer)}
	}
	if !m.synced {
		if d, err := m.sync(ctx, end); d != nil || err != nil {
			return m.report(ctx, d, err)
		}
	}
	for from := m.known.Head.Sequence + 1; from <= end.sequence; from = m.known.Head.Sequence + 1 {
		if end.sequence-from >= m.l.o.Keep {
			from = end.sequence - m.l.o.Keep + 1
		}
		if d, err := m.some(ctx, from, end); d != nil || err != nil {
			return m.report(ctx, d, err)
		}
	}
	if time.Since(m.put) >= m.l.o.Heartbeat {
		if err := m.putHead(ctx, end); err != nil {
			return err
		}
	}
	return m.prune(ctx, end)
}

// report hands damage to the writing goroutine, which begins the next chain.
func (m *mirror) report(ctx context.Context, d *damage, err error) error {
	if d == nil {
		return err
	}
	select {
	case m.l.damaged <- *d:
	case <-m.l.stopped:
	case <-ctx.Done():
	}
	return errors.New("the chain is damaged")
}

// sync reads what the store has of our chain, and holds the chain against it.
func (m *mirror) sync(ctx context.Context, end position) (*damage, error) {
	got, err := m.store.Get(ctx, headsPrefix+m.writer.String())
	m.known, m.revision = record{}, 0
	if errors.Is(err, store.ErrNotFound) {
		m.synced = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m.revision = got.Revision
	known, ok := m.recordOf(got)
	if !ok {
		m.synced = true // it is written anew
		return nil, nil
	}
	problem, err := m.held(known.Head, end)
	if problem != nil {
		return &damage{*problem, &known.Witness}, nil
	}
	if err == nil {
		m.known, m.synced = known, true
	}
	return nil, err
}

// held holds the chain against a head of it that its own key signed.
func (m *mirror) held(head Head, end position) (*Problem, error) {
	if head.Sequence > end.sequence {
		return &Problem{Writer: end.writer.String(), Sequence: end.sequence + 1, Fault: Truncated,
			Detail: fmt.Sprintf("the store has its head of entry %d", head.Sequence)}, nil
	}
	lines, err := m.cursor.read(head.Sequence, head.Sequence)
	if err != nil {
		return nil, err
	}
	if len(lines) == 1 {
		if e, err := Parse(lines[0]); err == nil && e.Hash == head.Hash {
			return nil, nil
		}
	}
	return &Problem{Writer: end.writer.String(), Sequence: 1, Until: head.Sequence, Fault: Rewritten,
		Detail: fmt.Sprintf("the store has a head with another hash for entry %d", head.Sequence)}, nil
}

// some brings some entries into the store, and the head that ends them.
func (m *mirror) some(ctx context.Context, from uint64, end position) (*damage, error) {
	lines, err := m.cursor.read(from, min(end.sequence, from+255))
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("audit: entry %d is not in the file any more", from)
	}
	for i, line := range lines {
		key := entryKey(m.writer.String(), from+uint64(i))
		_, err := m.store.Put(ctx, key, line, 0)
		if errors.Is(err, store.ErrConflict) {
			d, err := m.other(ctx, key, line)
			if d != nil || err != nil {
				return d, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	last, err := Parse(lines[len(lines)-1])
	if err != nil {
		return nil, err
	}
	return nil, m.putHead(ctx, position{writer: end.writer, sequence: last.Sequence, hash: last.Hash, news: min(end.news, last.Sequence)})
}

// other looks at what the store has under the key of one of our entries: the
// same, what somebody else wrote there, or another entry of ours.
func (m *mirror) other(ctx context.Context, key string, line []byte) (*damage, error) {
	got, err := m.store.Get(ctx, key)
	if err != nil || bytes.Equal(got.Value, line) {
		return nil, err
	}
	e, err := Parse(got.Value)
	if err == nil && intact(got.Value, &e) && signed(got.Value, &e, publicOf(m.l.key)) {
		head := newHead(e.Writer, e.Sequence, e.Hash, e.At, m.l.key)
		return &damage{Problem{Writer: m.writer.String(), Sequence: e.Sequence, Fault: Unlinked,
			Detail: "the store has another entry of this number, signed by the same key"}, &head}, nil
	}
	m.warnOnce(key, "audit: the store has something else than our entry at "+key+": somebody wrote there")
	return nil, nil
}

func (m *mirror) warnOnce(key, text string) {
	if !m.odd[key] && len(m.odd) < maxPeers {
		m.odd[key] = true
		m.l.o.Warn(text)
	}
}

func (m *mirror) putHead(ctx context.Context, end position) error {
	r := record{m.l.sign(end), end.news}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	put, err := m.store.Put(ctx, headsPrefix+m.writer.String(), text, m.revision)
	if err != nil {
		m.synced = false // whether it was written is not known
		return err
	}
	m.known, m.revision, m.put = r, put.Revision, time.Now()
	return nil
}

// pruneEvery is how many entries come between two removals of the oldest.
const pruneEvery = 100

// prune removes the oldest entries from the store. The file keeps all.
func (m *mirror) prune(ctx context.Context, end position) error {
	if end.sequence <= m.l.o.Keep || m.pruned != 0 && end.sequence < m.pruned+pruneEvery {
		return nil
	}
	prefix := entriesOf(m.writer.String())
	for {
		oldest, err := m.store.Page(ctx, prefix, "", pruneEvery)
		if err != nil {
			return err
		}
		removed := 0
		for _, e := range oldest {
			n, err := strconv.ParseUint(strings.TrimPrefix(e.Key, prefix), 10, 64)
			if err == nil && n > end.sequence-m.l.o.Keep {
				break
			}
			err = m.store.Delete(ctx, e.Key, e.Revision)
			if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
				return err
			}
			removed++
		}
		if removed < pruneEvery {
			m.pruned = end.sequence
			return nil
		}
	}
}
