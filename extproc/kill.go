package extproc

import (
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// Kills are carried out by Envoy, which gets routes and clusters without what is
// killed. This is the second line: what a worker of Envoy's still sends, and what
// was on its way when the kill came, ends here.

// stopped is what kills make of the exchange; nothing is found where it may go on.
func (e *exchange) stopped() (kill.Effect, verdict.Finding) {
	if e.server.kills == nil {
		return kill.Effect{}, verdict.Finding{}
	}
	set, _ := e.server.kills.Load()
	if set.Empty() {
		return kill.Effect{}, verdict.Finding{}
	}
	now, p := time.Now(), e.route.policy
	k := set.Of(p.Route, e.version.Model, e.version.Name, now)
	if !e.routed && !k.Killed { // Envoy asks nobody: was one of them killed?
		for _, v := range e.route.versions {
			if other := set.Of(p.Route, v.Model, v.Name, now); other.Killed && kill.Stricter(k.Mode, other.Mode) != k.Mode {
				k = other
			}
		}
	}
	if !k.Killed {
		return k, verdict.Finding{}
	}
	return k, verdict.Finding{Code: verdict.Killed, Detail: k.Target.String(), Enforced: true}
}

// stopRequest is the answer to a request to what is killed, which is not asked;
// nil: it may go on.
func (e *exchange) stopRequest() *reply {
	k, f := e.stopped()
	if !f.Found() {
		return nil
	}
	e.countFinding(f)
	if k.Mode == kill.Degrade && e.enforced {
		e.permits.Ignore()
		return e.inPlace(f)
	}
	return e.stop(k, f)
}

// stopAnswer is the answer in the place of one of what was killed meanwhile; nil:
// it may go on.
func (e *exchange) stopAnswer(at phase) *reply {
	k, f := e.stopped()
	if !f.Found() {
		return nil
	}
	e.countNothing()
	e.countFinding(f)
	if k.Mode == kill.Degrade && e.enforced {
		return e.replace(at, f)
	}
	return e.stop(k, f)
}

// stop answers as Envoy does for what is killed: with the policy's default, or
// with 503.
func (e *exchange) stop(k kill.Effect, f verdict.Finding) *reply {
	switch {
	case e.route.grpc():
		e.setAside(telemetry.CauseUnanswered)
		return immediateStatus(codes.Unavailable, f.Reason(), k.Mode == kill.Default && e.enforced && e.lastRungAnswers())
	case k.Mode == kill.Default && e.enforced:
		return e.deliverImmediate(e.route.ladder.Default(e.ctx, e.question(f)), f)
	}
	e.setAside(telemetry.CauseUnanswered)
	tags := []ladder.Header{{Name: verdict.HeaderReason, Value: f.Reason()}, {Name: "content-type", Value: chat.TypeJSON}}
	return immediate(http.StatusServiceUnavailable, tags, chat.AppendErrorBody(nil, local.ErrorCode(f), killedMessage), "safestate_killed")
}

// killedMessage is what a caller is told whom nothing answers.
const killedMessage = "The model was stopped."

// stopIfKilled ends an answer of what was killed meanwhile, and reports whether it
// did: one of which nothing has gone out is answered in its place, a stream ends
// with an error event. What is complete stays; an answer that goes out unread ends
// with its body, which the route's timeout bounds.
func (d *duplex) stopIfKilled() (ended bool, err error) {
	e := d.exchange
	if d.unended || d.state != held && d.state != flowing {
		return false, nil
	}
	k, f := e.stopped()
	switch {
	case !f.Found():
		return false, nil
	case d.state == held:
		e.countNothing()
		e.countFinding(f)
		if k.Mode == kill.Degrade && e.enforced {
			return true, d.replace(f)
		}
		d.state = over
		return true, e.out.send(e.stop(k, f))
	case d.kind == eventStream:
		e.countNothing()
		return true, d.cut(f, nil)
	case d.kind == grpcMessages:
		e.countNothing()
		e.countFinding(f)
		d.state = over
		a := e.primary()
		a.Source = cut
		e.finish(a, f)
		return true, e.out.send(immediateStatus(codes.Unavailable, f.Reason(), false))
	}
	return false, nil
}

// followKills ends what is under way whenever something is killed, until all is
// ended: also while a process that leaves waits for its exchanges.
func (s *Server) followKills() {
	_, changed := s.kills.Load()
	for {
		select {
		case <-s.ending.Done():
			return
		case <-changed:
		}
		_, changed = s.kills.Load() // before the streams are listed: the next kill may come while these are ended
		for _, d := range s.streams.list() {
			go d.killed() // one whose caller does not read must not hold up the others
		}
	}
}

func (d *duplex) killed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.survive("a killed stream could not be ended", recover()) }()
	// An error means that the proxy has ended the stream by itself.
	_, _ = d.stopIfKilled()
}
