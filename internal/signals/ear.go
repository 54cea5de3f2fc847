package signals

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// silentAfter is how long a control plane may say nothing to what it is told: it
// acknowledges every report, within milliseconds. A machine that has lost its power
// says nothing at all, and until it is given up nobody hears that a version is bad.
const silentAfter = 3 * time.Second

var (
	errSilent  = errors.New("safestate: the control plane acknowledges no report")
	errRefused = errors.New("safestate: the control plane refuses reports")
	errEnded   = errors.New("safestate: the control plane has ended the stream of reports")
)

// ear listens to a control plane.
type ear struct {
	onLink func(error)
	open   func([]*signalsv1.OpenBreaker)

	began        time.Time
	heard        atomic.Int64 // when it last said something, in nanoseconds since began; 0: never
	acknowledged atomic.Uint64
	news         chan struct{} // written to when it has said something
	ended        chan error    // why the stream has ended

	asked time.Time // when it was told what it has not answered; zero: it has. Of the sending goroutine
}

func newEar(onLink func(error), open func([]*signalsv1.OpenBreaker)) *ear {
	return &ear{began: time.Now(), onLink: onLink, open: open, news: make(chan struct{}, 1), ended: make(chan error, 1)}
}

func (e *ear) listen(stream Stream) {
	begun, refused := false, false
	for {
		d, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errEnded
			}
			e.ended <- err
			return
		}
		e.heard.Store(max(int64(time.Since(e.began)), 1))
		e.acknowledged.Store(d.Acknowledged)
		select {
		case e.news <- struct{}{}:
		default:
		}
		e.open(d.Open)
		switch {
		case d.Refused != "" && !refused:
			e.onLink(fmt.Errorf("%w: %s", errRefused, fit(d.Refused)))
		case d.Refused == "" && (!begun || refused):
			e.onLink(nil)
		}
		begun, refused = true, d.Refused != ""
	}
}

// hasHeard reports whether it has said anything.
func (e *ear) hasHeard() bool { return e.heard.Load() > 0 }

// silent reports whether what has been sent has had no answer for too long. sent
// says that something has been, just now.
func (e *ear) silent(now time.Time, sent bool) bool {
	if !e.asked.IsZero() && e.hasHeard() && e.heard.Load() >= int64(e.asked.Sub(e.began)) {
		e.asked = time.Time{}
	}
	if e.asked.IsZero() && sent {
		e.asked = now
	}
	return !e.asked.IsZero() && now.Sub(e.asked) > silentAfter
}

// reason is why the stream has ended of which Send returned an error: gRPC says
// it to the one who receives.
func (e *ear) reason(sending error) error {
	if errors.Is(sending, io.EOF) {
		return <-e.ended
	}
	return sending
}
