package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/access"
)

func keyed(key, body string) *http.Request {
	r := request("POST", rollbackPath, body)
	r.Header.Set(idempotencyHeader, key)
	return r
}

func TestARepeatedRequestIsDoneOnce(t *testing.T) {
	clock := &changeable{t: now}
	f := &fakeControl{}
	h := New(Options{Control: f, Now: clock.now})
	first := send(h, keyed("k1", `{"reason":"x"}`))
	wants(t, first, 200)
	again := send(h, keyed("k1", `{"reason":"x"}`))
	if again.Code != 200 || again.Body.String() != first.Body.String() || len(f.calls()) != 1 {
		t.Errorf("again: %d %s, asked %q", again.Code, again.Body, f.calls())
	}
	wants(t, send(h, keyed("k1", `{"reason":"y"}`)), 422, "used for another request")
	wants(t, send(h, keyed("k2", `{"reason":"x"}`)), 200)
	if len(f.calls()) != 2 {
		t.Errorf("another key: %q", f.calls())
	}
	other := keyed("k1", `{"reason":"x"}`)
	other.Header.Set(access.UserHeader, "bob")
	wants(t, send(h, other), 200)
	if len(f.calls()) != 3 {
		t.Errorf("another principal's key is another: %q", f.calls())
	}
	clock.move(rememberFor)
	wants(t, send(h, keyed("k1", `{"reason":"x"}`)), 200)
	if len(f.calls()) != 4 {
		t.Errorf("after %s: %q", rememberFor, f.calls())
	}
	wants(t, send(h, keyed("a\tb", `{"reason":"x"}`)), 400, "is no key")
}

func TestARefusalIsRememberedAndAFailureIsNot(t *testing.T) {
	f := &fakeControl{err: Conflict(7, "it is not so")}
	h := serve(f)
	wants(t, send(h, keyed("k1", `{"reason":"x"}`)), 409)
	f.err = nil
	wants(t, send(h, keyed("k1", `{"reason":"x"}`)), 409)
	f.err = Unavailable("the store is away")
	wants(t, send(h, keyed("k2", `{"reason":"x"}`)), 503)
	f.err = nil
	wants(t, send(h, keyed("k2", `{"reason":"x"}`)), 200)
}

func TestRepeatsAtTheSameTimeWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeControl{hold: make(chan struct{})}
		h := serve(f)
		answers := make(chan *httptest.ResponseRecorder, 3)
		for range 3 {
			go func() { answers <- send(h, keyed("k1", `{"reason":"x"}`)) }()
		}
		synctest.Wait()
		close(f.hold)
		for range 3 {
			wants(t, <-answers, 200, `"generation": 8`)
		}
		if len(f.calls()) != 1 {
			t.Errorf("asked %q", f.calls())
		}
	})
}

// Whoever goes away does not leave half a change behind, and learns of it when
// asking again.
func TestAChangeIsFinishedWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeControl{hold: make(chan struct{})}
		h := serve(f)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			send(h, keyed("k1", `{"reason":"x"}`).WithContext(ctx))
			close(gone)
		}()
		synctest.Wait()
		leave()
		synctest.Wait()
		close(f.hold)
		<-gone
		wants(t, send(h, keyed("k1", `{"reason":"x"}`)), 200, `"generation": 8`)
		if len(f.calls()) != 1 {
			t.Errorf("asked %q", f.calls())
		}
	})
}

func TestMemoryOfRequestsIsBounded(t *testing.T) {
	m := newRepeats()
	once := func(key string, size int) {
		t.Helper()
		_, err := m.once(t.Context(), "s", key, nil, now, func() result { return result{status: 200, body: make([]byte, size)} })
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * rememberEntries {
		once(fmt.Sprint(i), 100)
	}
	if len(m.entries) > rememberEntries || len(m.order) > rememberEntries {
		t.Errorf("%d entries, %d in order", len(m.entries), len(m.order))
	}
	for i := range 20 {
		once(fmt.Sprint("big", i), 1<<20)
	}
	if m.bytes > rememberBytes+1<<20 {
		t.Errorf("%d bytes", m.bytes)
	}
	_, err := m.once(t.Context(), "s", "late", nil, now.Add(time.Hour), func() result { return result{status: 200, body: nil} })
	if err != nil || len(m.entries) != 1 || m.bytes != 0 {
		t.Errorf("%v, %d entries and %d bytes after an hour", err, len(m.entries), m.bytes)
	}
}

func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	m := newRepeats()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = m.once(t.Context(), "s", "k", nil, now, func() result { panic(errors.New("broken")) })
	}()
	got, err := m.once(t.Context(), "s", "k", nil, now, func() result { return result{status: 200, body: nil} })
	if err != nil || got.status != 200 {
		t.Errorf("%v %v", got, err)
	}
}
