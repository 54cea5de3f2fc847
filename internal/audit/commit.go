package audit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// run starts what the log does beside its callers.
func (l *Log) run() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.writing()
	boxes := l.anchoring()
	l.work.Go(func() { l.heads(ctx, boxes) })
	if l.o.Store != nil {
		l.work.Go(func() { newMirror(l).run(ctx) })
	}
}

// writing brings entries to the disk: all that came while the disk was busy with
// those before share one write and one sync.
func (l *Log) writing() {
	defer close(l.stopped)
	for {
		select {
		case <-l.wake:
			l.commit()
		case d := <-l.damaged:
			if d.Writer != l.chain.writer.String() {
				continue // it goes on elsewhere already
			}
			if err := l.renew(&d); err != nil {
				l.o.Warn(fmt.Sprintf("audit: the next chain cannot begin: %v", err))
			}
		case <-l.quit:
			l.commit()
			l.chain.drop()
			return
		}
	}
}

func (l *Log) commit() {
	l.mu.Lock()
	items := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	if len(items) == 0 {
		return
	}
	entries := make([]Entry, len(items))
	for i, it := range items {
		entries[i] = it.entry
	}
	written, err := l.add(entries)
	if errors.Is(err, errLost) {
		end, _ := l.position()
		head := l.sign(end)
		err = l.renew(&damage{Problem{Writer: head.Head.Writer, Fault: Truncated, Detail: err.Error()}, &head})
		if err == nil {
			var more []Entry
			more, err = l.add(entries[len(written):])
			written = append(written, more...)
		}
	}
	l.mu.Lock()
	if l.status.WriteError = ""; err != nil {
		l.status.WriteError = cleanText(err.Error(), maxTarget)
	}
	for i, it := range items {
		if delete(l.inFlight, it.entry.ID); i < len(written) {
			it.entry = written[i]
		} else {
			it.err = fmt.Errorf("%w: %w", ErrNotWritten, err)
		}
	}
	l.mu.Unlock()
	for _, it := range items {
		close(it.done)
	}
}

// add writes entries, behind those that have to come first, and returns those
// that are on the disk.
func (l *Log) add(entries []Entry) (written []Entry, err error) {
	if len(l.first) > 0 {
		if err := l.lead(l.first); err != nil {
			return nil, err
		}
	}
	written, err = l.chain.write(entries, time.Now())
	l.publish(written)
	return written, err
}

// publish tells that entries are on the disk.
func (l *Log) publish(written []Entry) {
	if len(written) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range written {
		e := &written[i]
		l.ids.add(e.ID, e.Sequence)
		if l.end.writer != l.chain.writer {
			l.end = position{writer: l.chain.writer}
		}
		l.end.sequence, l.end.hash = e.Sequence, e.Hash
		if e.Kind != KindJoin {
			l.end.news = e.Sequence
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close writes what waits, signs a last head, and ends. Anchors get five seconds
// to take it.
func (l *Log) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	close(l.quit)
	<-l.stopped
	l.stop()
	l.work.Wait()
	return l.lock.Close()
}
