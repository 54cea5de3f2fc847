package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// TestFaultsOfChat is every fault of a plain completion, as TestFaults is of
// tensors.
func TestFaultsOfChat(t *testing.T) { chatFaults(t, "", fm.OA) }

// TestFaultsOfStreams is every fault of a streamed completion, those that have a
// place at the beginning, after the first token and after forty of the sixty.
func TestFaultsOfStreams(t *testing.T) { chatFaults(t, "", fm.SSE) }

// chatFaults asks each cell twice: as bytes, which are read strictly, and
// through the openai library.
func chatFaults(t *testing.T, host string, p fm.Protocol) {
	t.Helper()
	in := openLanes(t)
	plane, _ := chatPlane(t, host, in)
	table := &chatTable{
		plane: plane, protocol: p, inEnvoy: host == "WASM", ended: map[ending]int{},
		http: &http.Client{}, openai: clients.StartOpenAI(t, "http://"+plane.Traffic),
	}
	defer table.http.CloseIdleConnections()
	var cells []laneCell
	for _, f := range fm.Faults(p) {
		places := f.Positions(p)
		if len(places) == 0 {
			places = []int{-1}
		}
		for _, at := range places {
			name := f.String() + "/" + p.String()
			if at >= 0 {
				name = fmt.Sprintf("%s@%d/%s", f, at, p)
			}
			cells = append(cells, laneCell{name: name, run: func(t *testing.T, l *lane) {
				c := &chatCell{chatTable: table, lane: l, fault: f, place: at, want: expectedChat[f]}
				c.run(t)
			}})
		}
	}
	table.tally.spread(t, in, cells)
	table.figures()
	table.tally.done(t)
}

// chatTable is what the cells share.
type chatTable struct {
	plane    *dataplane.Plane
	protocol fm.Protocol
	inEnvoy  bool // the filter judges
	http     *http.Client
	openai   *clients.OpenAI
	tally    tally

	mu    sync.Mutex
	ended map[ending]int
}

func (c *chatTable) figures() {
	var out []string
	for _, e := range []ending{ownAnswer, restarted, errorEvent, brokenOff, lastRung, objection} {
		out = append(out, fmt.Sprintf("%s=%d", e, c.ended[e]))
	}
	fmt.Printf("figure %s answers by how they ended: %s\n", c.protocol, strings.Join(out, " "))
}

// chatCell is one fault at one place.
type chatCell struct {
	*chatTable
	lane  *lane
	fault fm.Fault
	place int // negative: it has none
	want  chatExpectation
}

func (c *chatCell) call() chatCall {
	q := chatCall{
		route: chatRoute(c.lane, c.want.group), stream: c.protocol == fm.SSE,
		logprobs: c.fault.Logprobs(), n: c.fault.Choices(), prefill: c.fault == fm.S14CutAndRefused,
	}
	switch {
	case c.fault == fm.C13FormatSchema:
		q.format = answerSchema
	case c.fault.Format():
		q.format = map[string]any{"type": "json_object"}
	}
	return q
}

// answerSchema is a response_format that the models keep to.
var answerSchema = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "strict": true, "schema": map[string]any{
	"type": "object", "properties": map[string]any{"answer": map[string]any{"type": "string"}}, "required": []string{"answer"}, "additionalProperties": false,
}}}

// text is the whole text of a model that does what it was asked: letter w is
// the primary's, s the fallback's.
func (q chatCall) text(letter string) string {
	format, _ := q.format.(map[string]any)
	switch format["type"] {
	case "json_schema":
		return `{"answer":"w0 w1"}`
	case "json_object":
		return `{"answer":"` + words(letter, fm.StreamTokens) + `"}`
	}
	return words(letter, fm.StreamTokens)
}

// byBytes and byLibrary are the two ways in which a cell is asked. The library
// asks for no usage but where the entry is about it.
func (c *chatCell) byBytes(t *testing.T) heard {
	q := c.call()
	q.usage = true
	return hear(c.http, c.plane.Traffic, q.request(t), q.stream)
}

func (c *chatCell) byLibrary(t *testing.T) heard {
	q := c.call()
	q.usage = c.fault.Entry() == "S11" || c.fault.Entry() == "S16"
	base := "http://" + c.plane.Traffic + strings.TrimSuffix(fm.OA.Path(q.route), "/chat/completions")
	return fromOpenAI(c.openai.Ask(t, clients.Chat{Stream: q.stream, BaseURL: base, Body: q.arguments(), Seconds: 15}))
}

func (c *chatCell) run(t *testing.T) {
	if c.want.group == "" {
		t.Fatal("no expectation")
	}
	for _, way := range []struct {
		name string
		ask  func(*testing.T) heard
	}{{"by bytes", c.byBytes}, {"by openai", c.byLibrary}} {
		h := c.ask(t, way.ask)
		c.check(t, way.name, h)
	}
	model := c.lane.model
	if c.fault == fm.S03ErrorOnce {
		c.clean(t, "the fault is over by itself")
	}
	model.Set(fm.None, 0)
	if c.fault == fm.S15Down {
		dataplane.Eventually(t, 30*time.Second, "the primary answers again", func() bool { return c.byBytes(t).source == "primary" })
	}
	c.clean(t, "after")
	dataplane.Eventually(t, 10*time.Second, "the model has no stream left open", func() bool { return model.Open() == 0 })
}

// ask makes one call with the fault there, which the model's own count proves.
func (c *chatCell) ask(t *testing.T, how func(*testing.T) heard) heard {
	t.Helper()
	model := c.lane.model
	if c.place == 1 { // 58 tokens are left, which take long enough for Envoy to leave
		model.SetPace(50 * time.Millisecond)
		defer model.SetPace(usualPace)
	}
	var h heard
	for again := 0; ; again++ {
		served, asked, gone := model.Count(c.fault), model.Requests(), model.Cancelled()
		model.SetAt(c.fault, c.place, 0)
		h = how(t)
		if c.fault == fm.S15Down {
			h = c.open(t, how)
		}
		if !c.busy(h) || again == 2 {
			dataplane.Eventually(t, 15*time.Second, "the model counts the fault as served", func() bool { return model.Count(c.fault) > served })
			if c.want.held || h.how == raised && c.place == 1 && !c.want.ends {
				dataplane.Eventually(t, 15*time.Second, "the model notices that its caller left", func() bool { return model.Cancelled() > gone })
			}
			if n := model.Requests() - asked; n != 1 && c.fault != fm.S15Down {
				t.Errorf("the model was asked %d times for one request", n)
			}
			return h
		}
		// What the model still does for that one would count for the next.
		dataplane.Eventually(t, 15*time.Second, "the model has no stream left open", func() bool { return model.Open() == 0 })
		c.tally.mu.Lock()
		c.tally.again++
		c.tally.mu.Unlock()
	}
}

// busy: as of tensors, the machine had no time; not even the fallback may have
// had enough.
func (c *chatCell) busy(h heard) bool {
	code, _ := strings.CutPrefix(h.code, "safestate_")
	if (code == "processor_away" || code == "late" || code == "stream_stalled") && !slices.Contains(c.want.reason, code) {
		return true
	}
	return h.how == answered && h.first > chatDeadline+deadlineGrace || h.took > endsWithin || h.reason == "processor_away" ||
		h.how == answered && h.source == "safe_default" ||
		h.how == raised && c.want.held && h.took > silenceWithin ||
		h.reason != "" && strings.HasPrefix(h.reason, "late") && !slices.Contains(c.want.reason, "late")
}

// open asks a model that is down until its breaker opens.
func (c *chatCell) open(t *testing.T, how func(*testing.T) heard) (h heard) {
	t.Helper()
	dataplane.Eventually(t, 30*time.Second, "the breaker opens", func() bool {
		h = how(t)
		// The filter holds no request: where a model refuses before all of it is here,
		// only what needs no request can answer.
		if h.source != "fallback" && !c.busy(h) && (!c.inEnvoy || h.source != "safe_default") {
			t.Errorf("while the model is down: source %q, reason %q", h.source, h.reason)
		}
		return strings.HasPrefix(h.reason, "breaker_open")
	})
	return h
}

// clean checks that the primary answers.
func (c *chatCell) clean(t *testing.T, when string) {
	t.Helper()
	h := again(3, func() heard { return c.byBytes(t) }, func(h heard) bool { return h.source != "primary" || c.busy(h) })
	if problem := c.problem(ownAnswer, h); problem != "" {
		t.Fatalf("%s: %s; %s", when, problem, h)
	}
}

// check holds an answer to what may become of it, and counts how it ended.
func (c *chatCell) check(t *testing.T, way string, h heard) {
	t.Helper()
	want := c.want.at(c.place)
	if c.protocol == fm.OA {
		want = c.want.onPlain()
	}
	got := h.ending()
	if c.inEnvoy {
		got, want = h.endingInEnvoy(got), inEnvoyToo(want, c.want.held)
	}
	if got&want == 0 {
		t.Errorf("%s: the answer ended by %q, want %s; %s", way, got, want, h)
		return
	}
	if problem := c.problem(got, h); problem != "" {
		t.Errorf("%s, %s: %s; %s", way, got, problem, h)
	}
	if got == objection && h.body != nil {
		if direct := hear(c.http, c.lane.model.Addr(), c.call().request(t), c.protocol == fm.SSE); !bytes.Equal(direct.body, h.body) {
			t.Errorf("%s: the model objects by %q, the caller gets %q", way, direct.body, h.body)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[got]++
}
