package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// Register implements store.Store.
func (c *Client) Register(ctx context.Context, key string, value func() []byte) {
	c.again(ctx, func(ctx context.Context, l *lease) {
		for {
			m := c.memory
			m.mu.Lock()
			now := value()
			if r, ok := m.records[key]; !c.cut && (!ok || r.lease == l && !bytes.Equal(r.Value, now) || r.lease == nil) {
				m.put(key, now, l)
			}
			m.mu.Unlock()
			if !wait(ctx, m.lease/3) {
				return
			}
		}
	}, key)
}

// Elect implements store.Store.
func (c *Client) Elect(ctx context.Context, name, value string, lead func(context.Context)) {
	m := c.memory
	c.again(ctx, func(ctx context.Context, l *lease) {
		key := fmt.Sprintf("%s/%p", name, l)
		m.mu.Lock()
		if c.cut {
			m.mu.Unlock()
			wait(ctx, m.lease/3)
			return
		}
		m.put(key, []byte(value), l)
		m.mu.Unlock()
		if !c.until(ctx, func() bool { return m.first(name).Key == key }) {
			return
		}
		leading, stop := context.WithCancel(ctx)
		defer stop()
		go func() { // a person who removes the record unseats the leader
			c.until(leading, func() bool { return m.records[key].lease != l })
			stop()
		}()
		lead(leading)
	}, "")
}

// until waits for a condition on the records as this client can see them.
func (c *Client) until(ctx context.Context, ok func() bool) bool {
	for {
		c.memory.mu.Lock()
		met, changed := !c.cut && ok(), c.memory.changed
		c.memory.mu.Unlock()
		if met {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// first is the oldest candidate's record.
func (m *Memory) first(name string) record {
	var first record
	for key, r := range m.records {
		if strings.HasPrefix(key, name+"/") && (first.lease == nil || r.created < first.created) {
			first = r
		}
	}
	return first
}

// Leader implements store.Store.
func (c *Client) Leader(ctx context.Context, name string) (value string, err error) {
	err = c.do(ctx, "leader of", name, func(m *Memory) error {
		r := m.first(name)
		if value = string(r.Value); r.lease == nil {
			return store.ErrNotFound
		}
		return nil
	})
	return value, err
}

// again runs what holds a lease, with a new one each time that it was lost. An
// earlier lease's record at key goes over to the new one.
func (c *Client) again(ctx context.Context, hold func(context.Context, *lease), key string) {
	ctx, cancel := c.join(ctx)
	defer cancel()
	m := c.memory
	for ctx.Err() == nil {
		l := &lease{}
		l.timer = time.AfterFunc(m.lease, func() { m.expire(l) })
		m.mu.Lock()
		if r, ok := m.records[key]; ok && !c.cut {
			r.lease = nil // hold writes it anew
			m.records[key] = r
		}
		m.mu.Unlock()
		held, lost := context.WithCancel(ctx)
		renewed := make(chan struct{})
		go func() { defer close(renewed); defer lost(); c.renew(held, l) }()
		hold(held, l)
		lost()
		<-renewed
		if !c.gone() {
			m.expire(l)
		}
		wait(ctx, time.Millisecond)
	}
}

// gone reports whether the client's words do not reach the store.
func (c *Client) gone() bool {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	return c.cut
}

// renew keeps a lease until the store may have let go of it.
func (c *Client) renew(ctx context.Context, l *lease) {
	m := c.memory
	end := time.Now().Add(m.lease * 5 / 6)
	for wait(ctx, min(m.lease/3, time.Until(end))) {
		m.mu.Lock()
		if !c.cut && l.timer.Reset(m.lease) {
			end = time.Now().Add(m.lease * 5 / 6)
		}
		m.mu.Unlock()
		if !time.Now().Before(end) {
			return
		}
	}
}

// expire removes what hangs on a lease.
func (m *Memory) expire(l *lease) {
	l.timer.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, r := range m.records {
		if r.lease == l {
			m.remove(key)
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
