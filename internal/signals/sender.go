package signals

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

const (
	// reportEvery is how often a link reports while there is something new.
	reportEvery = 100 * time.Millisecond
	// burst is how long a report that must go at once waits for others like it.
	burst = 5 * time.Millisecond
	// aliveEvery is how often a link reports at least: a hub knows by it that the
	// reporter lives and has counted nothing that it has not said, and the reporter
	// that the control plane does.
	aliveEvery = time.Second
	// wholeEvery is how often all rows are reported, changed or not.
	wholeEvery = 10 * time.Second
	// stuckAfter is how long reports may take to be sent.
	stuckAfter = silentAfter
)

// sender reports over one link.
type sender struct {
	reporter *Reporter
	link     Link
	wake     chan struct{}

	seen uint64  // the reading up to which the stream at hand has every row
	last uint64  // the sequence of the last report
	told stopped // what the stream at hand was told last of kills
}

func (s *sender) hurry() {
	select {
	case s.wake <- struct{}{}:
	default: // it is on its way
	}
}

// run keeps a stream open until ctx or the reporter ends.
func (s *sender) run(ctx context.Context) {
	keep(ctx, s.reporter.closing, s.reporter.o.OnLink, s.report)
}

// report opens a stream and reports until it breaks or the reporter ends.
func (s *sender) report(parent context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	stream, err := s.link(ctx)
	if err != nil {
		return false, err
	}
	ear := newEar(s.reporter.o.OnLink, s.reporter.open)
	reading.Go(func() { ear.listen(stream) })
	err = s.keepReporting(ctx, stream, cancel, ear)
	return ear.hasHeard(), err
}

func (s *sender) keepReporting(ctx context.Context, stream Stream, cancel context.CancelFunc, ear *ear) error {
	s.seen, s.told = 0, stopped{}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var whole, last time.Time
	for {
		now := time.Now()
		all := whole.IsZero() || now.Sub(whole) >= wholeEvery
		if all {
			whole = now
		}
		reports := s.reports(now, all)
		if len(reports) == 0 && (now.Sub(last) >= aliveEvery || s.reporter.stopped() != s.told) {
			reports = append(reports, s.reporter.sign(now, false))
		}
		if err := s.send(stream, cancel, reports); err != nil {
			return ear.reason(err)
		}
		if len(reports) > 0 {
			last = now
		}
		if ear.silent(now, len(reports) > 0) {
			return errSilent
		}
		select {
		case <-tick.C:
		case <-s.wake:
			s.gather(ctx)
		case err := <-ear.ended:
			return err
		case <-s.reporter.closing:
			return s.lastWords(ctx, stream, cancel, ear)
		}
	}
}

// gather waits a little for what else is urgent: a version turns bad on many
// proxies at once.
func (s *sender) gather(ctx context.Context) {
	wait := time.NewTimer(burst)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	select {
	case <-s.wake:
	default:
	}
}

// reports makes the reports of what is new, or of all. A stream that they cannot be
// sent on ends, and the next one begins with all.
func (s *sender) reports(now time.Time, whole bool) []*signalsv1.Report {
	reports, reading := s.reporter.reports(now, s.seen, whole)
	s.seen = reading
	return reports
}

func (s *sender) send(stream Stream, cancel context.CancelFunc, reports []*signalsv1.Report) error {
	if err := sendAll(stream, cancel, reports); err != nil {
		return err
	}
	if n := len(reports); n > 0 {
		s.last = reports[n-1].Sequence
		s.told = stopped{reports[n-1].Kills, reports[n-1].InFlight}
	}
	return nil
}

// sendAll sends reports. A control plane that does not read them ends the
// stream.
func sendAll(stream Stream, cancel context.CancelFunc, reports []*signalsv1.Report) error {
	if len(reports) == 0 {
		return nil
	}
	stuck := time.AfterFunc(stuckAfter, cancel)
	defer stuck.Stop()
	for _, m := range reports {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// lastWords sends what is left, and that nothing follows, and waits until it is
// acknowledged. The reporter's Close bounds it.
func (s *sender) lastWords(ctx context.Context, stream Stream, cancel context.CancelFunc, ear *ear) error {
	now := time.Now()
	reports := append(s.reports(now, false), s.reporter.sign(now, true))
	if err := s.send(stream, cancel, reports); err != nil {
		return ear.reason(err)
	}
	for ear.acknowledged.Load() < s.last {
		select {
		case <-ear.news:
		case err := <-ear.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return stream.CloseSend()
}

// open opens breakers of the host's that all hosts together have opened.
func (r *Reporter) open(list []*signalsv1.OpenBreaker) {
	if r.o.Breakers == nil {
		return
	}
	for _, o := range list[:min(len(list), mostBreakers)] {
		if !strings.HasPrefix(o.Key, breaker.VersionPrefix) || o.Milliseconds == 0 {
			continue
		}
		if b, ok := r.o.Breakers.Lookup(o.Key); ok {
			b.Trip(time.Duration(min(o.Milliseconds, mostOpen)) * time.Millisecond)
		}
	}
}

// mostOpen bounds what a control plane may ask, in milliseconds: a day, which no
// recovery time reaches.
const mostOpen = 24 * 60 * 60 * 1000
