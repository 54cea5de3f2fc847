package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// messagesAsked are sent over one ModelStreamInfer, each after the answer to
// the one before.
const messagesAsked = 4

// endsStream are the faults that are the end of a ModelStreamInfer, not of one
// of its messages. The status is the model's own; a stream that breaks off or
// cannot be read is reset, which every client raises.
var endsStream = map[fm.Fault]bool{
	fm.S01RateLimitedRetryAfter: true, fm.S01AfterHeaders: true, fm.S02RateLimitedForEver: true, fm.S02AfterHeaders: true,
	fm.S03ErrorOnce: true, fm.S03AfterHeaders: true, fm.S04UnavailableForEver: true, fm.S04AfterHeaders: true, fm.S04HTTPStatus: true,
	fm.S05ResetBeforeHeaders: true, fm.S05StreamReset: true, fm.S08BodyCut: true, fm.S08FrameShort: true, fm.S08NoTrailers: true,
	fm.S16UnavailableFallbackNamed: true, fm.S16AfterHeaders: true,
}

// notOfMessages are the faults that no inspection of single messages can see: a
// stream may be silent, may have no answer to a message or two, and its
// requests are not read.
var notOfMessages = map[fm.Fault]bool{
	fm.S06NeverAnswers: true, fm.S07SlowBody: true, fm.S09BodyStalls: true, fm.S15Down: true,
	fm.C12EmptyBody: true, fm.C13SecondMessage: true, fm.C16Constant: true, fm.C20OtherID: true,
}

// TestFaultsOfMessages is every fault of a ModelStreamInfer, from its first
// message on and from its third: what was right before it passes, what is wrong
// does not, and the caller is told.
func TestFaultsOfMessages(t *testing.T) {
	in := openLanes(t)
	plane, _ := grpcPlane(t, in)
	table := &grpcTable{plane: plane, grpc: dialGRPC(t, plane), triton: clients.StartTriton(t, plane.Traffic)}
	var cells []laneCell
	for _, f := range fm.Faults(fm.G) {
		if notOfMessages[f] {
			table.tally.na++
			continue
		}
		for _, at := range []int{0, 2} {
			cells = append(cells, laneCell{name: fmt.Sprintf("%s@%d/G-stream", f, at), run: func(t *testing.T, l *lane) {
				want := onGRPC(f)
				c := &messagesCell{grpcTable: table, lane: l, fault: f, place: at, route: grpcRoute(l, want.group), reason: want.reason}
				c.run(t)
			}})
		}
	}
	table.tally.spread(t, in, cells)
	table.tally.done(t)
}

// messagesCell is one fault from one message on.
type messagesCell struct {
	*grpcTable
	lane   *lane
	fault  fm.Fault
	place  int
	route  string
	reason []string
}

func (c *messagesCell) run(t *testing.T) {
	model := c.lane.model
	served := model.Count(c.fault)
	replies := c.calmly(func() { model.SetAt(c.fault, c.place, 0) }, func(replies []clients.Reply) bool { return c.problem(replies) == "" })
	dataplane.Eventually(t, 15*time.Second, "the model counts the fault as served", func() bool { return model.Count(c.fault) > served })
	if problem := c.problem(replies); problem != "" {
		t.Errorf("%s; %s", problem, tell(replies))
	}
	o := again(3, func() clients.InferOutcome {
		model.SetAt(c.fault, c.place, 0)
		return c.triton.Ask(t, clients.Infer{
			Op: clients.OpStream, Model: c.route, Rows: rows(c.fault.Rows()), Header: map[string]string{routeHeader: c.route}, Seconds: 30, Messages: messagesAsked,
		})
	}, func(o clients.InferOutcome) bool { // as calmly
		return !c.before(len(o.Answers)) && o.Raised != nil && o.Raised.Status == "StatusCode.UNAVAILABLE"
	})
	if o.Raised == nil || o.Raised.Type != "tritonclient.InferenceServerException" || !c.before(len(o.Answers)) || holdsLeak(o.Raised.Message) {
		t.Errorf("tritonclient takes %d answers and raises %+v, want %d", len(o.Answers), o.Raised, c.place)
	}
	model.Set(fm.None, 0)
	replies = c.calmly(func() {}, func(replies []clients.Reply) bool { return len(replies) == messagesAsked+1 })
	last := replies[len(replies)-1]
	if last.Code != codes.OK || len(replies) != messagesAsked+1 || last.Meta("x-safestate-source") != "primary" {
		t.Errorf("after: %s", tell(replies))
	}
}

// calmly makes the stream, and again where Envoy ended it as unavailable and that is not
// right: on a busy machine it gives up waiting for the processor.
func (c *messagesCell) calmly(prepare func(), right func([]clients.Reply) bool) []clients.Reply {
	return again(3, func() []clients.Reply { prepare(); return c.stream() }, func(replies []clients.Reply) bool {
		return !right(replies) && replies[len(replies)-1].Code == codes.Unavailable
	})
}

// before reports whether so many answers are those before the fault. A stream
// without an end has one more that is right.
func (c *messagesCell) before(n int) bool {
	return n == c.place || c.fault == fm.S08NoTrailers && n == c.place+1
}

func (c *messagesCell) stream() []clients.Reply {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var ask []clients.Message
	for i := range messagesAsked {
		ask = append(ask, clients.Message{Model: c.route, ID: fmt.Sprint("r", i), Rows: rows(c.fault.Rows())})
	}
	return c.grpc.Stream(metadata.AppendToOutgoingContext(ctx, routeHeader, c.route), ask...)
}

func (c *messagesCell) problem(replies []clients.Reply) string {
	last := replies[len(replies)-1]
	for i, r := range replies[:len(replies)-1] {
		switch {
		case holdsLeak(r.Message):
			return "the model's own error text reaches the caller"
		case i < c.place || c.before(i+1):
			if r.Message != "" || r.ID != fmt.Sprint("r", i) || len(r.Outputs) == 0 {
				return fmt.Sprintf("message %d is not the model's", i)
			}
		case len(r.Outputs) > 0:
			return fmt.Sprintf("message %d has an answer", i)
		case !hasPrefix(strings.TrimPrefix(r.Message, "safestate: "), c.reason):
			return fmt.Sprintf("message %d says %q, want one of %q", i, r.Message, c.reason)
		}
	}
	switch {
	case holdsLeak(last.Message):
		return "the model's own error text reaches the caller"
	case endsStream[c.fault]:
		if last.Code == codes.OK || !c.before(len(replies)-1) {
			return fmt.Sprintf("want %d messages and an error", c.place)
		}
	case last.Code != codes.OK || len(replies) != messagesAsked+1:
		return fmt.Sprintf("want %d messages and OK", messagesAsked)
	}
	return ""
}

func holdsLeak(text string) bool {
	for _, leak := range leaks {
		if strings.Contains(text, leak) {
			return true
		}
	}
	return false
}

func tell(replies []clients.Reply) string {
	var b strings.Builder
	for _, r := range replies {
		fmt.Fprintf(&b, "[%s %q id %q, %d outputs] ", r.Code, r.Message, r.ID, len(r.Outputs))
	}
	return b.String()
}
