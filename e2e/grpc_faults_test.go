package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// TestFaultsOfGRPC is every fault of a unary call, asked with raw contents and
// with typed ones through grpc-go, and through tritonclient. What nothing of
// safestate's can answer is asked twice: by a route whose last rung is
// UNAVAILABLE, and by one whose last rung is a message.
func TestFaultsOfGRPC(t *testing.T) {
	in := openLanes(t)
	plane, _ := grpcPlane(t, in)
	table := &grpcTable{plane: plane, grpc: dialGRPC(t, plane), triton: clients.StartTriton(t, plane.Traffic)}
	var cells []laneCell
	for _, f := range fm.Faults(fm.G) {
		want := onGRPC(f)
		cell := func(name, group string) {
			cells = append(cells, laneCell{name: name, run: func(t *testing.T, l *lane) {
				c := &grpcCell{grpcTable: table, lane: l, fault: f, route: grpcRoute(l, group), want: want, message: group == "answer"}
				c.run(t)
			}})
		}
		cell(f.String()+"/G", want.group)
		if want.unanswered {
			cell(f.String()+"/G-answer", "answer")
		}
	}
	table.tally.spread(t, in, cells)
	table.tally.done(t)
}

// grpcTable is what the cells share.
type grpcTable struct {
	plane  *dataplane.Plane
	grpc   *clients.GRPC
	triton *clients.Triton
	tally  tally
}

// grpcCell is one fault by one route.
type grpcCell struct {
	*grpcTable
	lane    *lane
	fault   fm.Fault
	route   string
	want    grpcExpectation
	message bool // the route's last rung
}

// got is what a client made of a call.
type got struct {
	code   codes.Code
	text   string // of the status
	source string // tritonclient does not tell headers
	reason string
	reply  clients.Reply
	took   time.Duration
}

func (g got) String() string {
	return fmt.Sprintf("%s %q, source %q, reason %q, model %q, version %q, id %q, %d outputs, after %s",
		g.code, g.text, g.source, g.reason, g.reply.Model, g.reply.Version, g.reply.ID, len(g.reply.Outputs), g.took)
}

func (c *grpcCell) byGo(typed bool) func(*testing.T) got {
	return func(t *testing.T) got { return c.goRows(typed)(t, rows(c.fault.Rows())) }
}

func (c *grpcCell) goRows(typed bool) func(*testing.T, [][]float32) got {
	return func(_ *testing.T, features [][]float32) got {
		r, took := infer(c.grpc, c.route, clients.Message{ID: "r1", Rows: features, Typed: typed})
		return got{code: r.Code, text: r.Message, source: r.Meta("x-safestate-source"), reason: r.Meta("x-safestate-reason"), reply: r, took: took}
	}
}

func (c *grpcCell) byTriton(t *testing.T) got { return c.tritonRows(t, rows(c.fault.Rows())) }

func (c *grpcCell) tritonRows(t *testing.T, features [][]float32) got {
	o := c.triton.Ask(t, clients.Infer{Model: c.route, ID: "r1", Rows: features, Header: map[string]string{routeHeader: c.route}, Seconds: 15})
	g := got{} // how long it took is not told: the calls of other lanes come first
	switch {
	case o.Raised != nil && o.Raised.Type != "tritonclient.InferenceServerException":
		g.code, g.text = codes.Unknown, "the library raises "+o.Raised.Type+" "+o.Raised.Message
	case o.Raised != nil:
		g.code, g.text = codes.Unknown, o.Raised.Message
		if o.Raised.Status == "StatusCode.UNAVAILABLE" {
			g.code = codes.Unavailable
		}
	case len(o.Answers) == 1:
		a := o.Answers[0]
		g.reply = clients.Reply{ID: a.ID, Model: a.Model, Version: a.Version}
		for name, out := range a.Outputs {
			if out == nil || out.Raised != nil {
				g.code, g.text = codes.Unknown, "as_numpy gives no "+name
				continue
			}
			g.reply.Outputs = append(g.reply.Outputs, clients.Tensor{Name: name, Values: out.Values})
		}
	default:
		g.code, g.text = codes.Unknown, fmt.Sprintf("%d answers", len(o.Answers))
	}
	return g
}

func (c *grpcCell) run(t *testing.T) {
	if c.want.group == "" {
		t.Fatal("no expectation")
	}
	ways := []struct {
		name string
		ask  func(*testing.T) got
	}{{"raw", c.byGo(false)}, {"typed", c.byGo(true)}, {"tritonclient", c.byTriton}}
	for _, way := range ways {
		if way.name == "typed" && c.want.group == "value" {
			continue // without the 16-bit floats the confidence has another place
		}
		if problem, g := c.ask(t, way.ask); problem != "" {
			t.Errorf("%s: %s; %s", way.name, problem, g)
		}
	}
	if c.fault == fm.S03ErrorOnce {
		c.clean(t, "the fault is over by itself")
	}
	c.lane.model.Set(fm.None, 0)
	if c.fault == fm.S15Down {
		dataplane.Eventually(t, 30*time.Second, "the primary answers again", func() bool { return c.byGo(false)(t).source == "primary" })
	}
	c.clean(t, "after")
}

// ask makes one call with the fault there, which the model's own count proves.
func (c *grpcCell) ask(t *testing.T, how func(*testing.T) got) (problem string, g got) {
	t.Helper()
	model := c.lane.model
	for again := 0; ; again++ {
		served, asked, gone := model.Count(c.fault), model.Requests(), model.Cancelled()
		model.Set(c.fault, 0)
		g = how(t)
		switch c.fault {
		case fm.C16Constant:
			for range 15 { // the window fills with one answer to many inputs
				g = how(t)
			}
		case fm.S15Down:
			g = c.open(t, how)
		}
		problem = c.problem(g)
		if problem == "" || !c.busy(g) || again == 2 {
			dataplane.Eventually(t, 15*time.Second, "the model counts the fault as served", func() bool { return model.Count(c.fault) > served })
			if c.want.held {
				dataplane.Eventually(t, 15*time.Second, "the model notices that its caller left", func() bool { return model.Cancelled() > gone })
			}
			if n := model.Requests() - asked; n != 1 && c.fault != fm.C16Constant && c.fault != fm.S15Down {
				problem = fmt.Sprintf("the model was asked %d times for one request", n)
			}
			return problem, g
		}
		c.tally.mu.Lock()
		c.tally.again++
		c.tally.mu.Unlock()
	}
}

// busy: the machine had no time, for the fallback or at all.
func (c *grpcCell) busy(g got) bool {
	late := strings.HasPrefix(g.reason, "late") && !slices.ContainsFunc(c.want.reason, func(r string) bool { return strings.HasPrefix(r, "late") })
	untold := g.source == "" && g.code == codes.Unavailable && !c.want.unanswered // of which tritonclient has no reason
	return untold || g.took > deadline+deadlineGrace || g.reason == "processor_away" || late || g.reply.Model == "default" && !c.message
}

// open asks a model that is down until its breaker opens. A client that does not
// tell the reason is asked as often as it takes.
func (c *grpcCell) open(t *testing.T, how func(*testing.T) got) (g got) {
	t.Helper()
	asked := 0
	dataplane.Eventually(t, 30*time.Second, "the breaker opens", func() bool {
		g = how(t)
		asked++
		if problem := c.problem(g); problem != "" && !c.busy(g) {
			t.Errorf("while the model is down: %s; %s", problem, g)
		}
		return strings.HasPrefix(g.reason, "breaker_open") || g.source == "" && asked > 4
	})
	return g
}

// clean checks that the primary answers.
func (c *grpcCell) clean(t *testing.T, when string) {
	t.Helper()
	g := again(3, func() got { return c.byGo(false)(t) }, func(g got) bool { return g.source != "primary" })
	if problem := lacking(g, c.route, "v1", c.fault.Rows()); problem != "" || g.source != "primary" {
		t.Fatalf("%s: %s; %s", when, problem, g)
	}
}

// problem says what is wrong with what became of a call; "" is nothing.
func (c *grpcCell) problem(g got) string {
	for _, leak := range leaks {
		if strings.Contains(g.text+g.reason, leak) {
			return "the model's own error text reaches the caller"
		}
	}
	if g.took > deadline+deadlineGrace {
		return "it took too long"
	}
	told := g.source != "" // tritonclient does not
	switch {
	case c.want.unanswered && g.reply.Model == "small":
		// Before its headers came the model was late: a busy one takes its time
		// over 16 MiB. The ladder can answer that.
		return lacking(g, "small", "small", c.fault.Rows())
	case c.want.unanswered && c.message:
		if told && g.source != "safe_default" {
			return "want the default"
		}
		return lacking(g, "default", "", 1)
	case c.want.unanswered:
		if g.code != codes.Unavailable || len(g.reply.Outputs) > 0 {
			return "want UNAVAILABLE"
		}
		if g.reason != "" && !hasPrefix(g.reason, c.want.reason) {
			return fmt.Sprintf("want a reason of %q", c.want.reason)
		}
		return ""
	case told && g.source != "fallback":
		return "want the fallback"
	case told && !hasPrefix(g.reason, c.want.reason):
		return fmt.Sprintf("want a reason of %q", c.want.reason)
	case told && (!strings.HasSuffix(g.reply.Meta("x-safestate-model"), c.route+"-small") || g.reply.Meta("x-safestate-version") != "small"):
		return "x-safestate-model and -version are not the fallback's"
	}
	return lacking(g, "small", "small", c.fault.Rows())
}

func hasPrefix(reason string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(reason, p) })
}

// lacking says what is missing of a whole answer by a model: a score for every
// row, and numbers that can be used wherever there are numbers.
func lacking(g got, model, version string, rows int) string {
	r := g.reply
	switch {
	case g.code != codes.OK:
		return "no answer"
	case r.Model != model || r.Version != version:
		return fmt.Sprintf("want an answer of %s %s", model, version)
	case model != "default" && r.ID != "r1":
		return "the request's id is not the answer's"
	}
	score, found := r.Output("score")
	if !found || len(score.Values) != rows {
		return fmt.Sprintf("score %v, want %d of them", score.Values, rows)
	}
	for _, out := range r.Outputs {
		if out.Values == nil {
			return "output " + out.Name + " is not what its shape and datatype say"
		}
		for _, v := range out.Values {
			f, isNumber := v.(float64)
			if isNumber && (math.IsNaN(f) || math.IsInf(f, 0)) || v == "nan" || v == "inf" || v == "-inf" {
				return fmt.Sprintf("output %s holds %v", out.Name, v)
			}
		}
	}
	return ""
}
