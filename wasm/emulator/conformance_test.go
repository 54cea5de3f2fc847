package emulator_test

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/emulator/probe"
)

// outcome is what can be compared of a scenario.
type outcome struct {
	Status  int
	Headers []string
	Body    string
	Broken  bool     // the answer has no end
	Seen    []string // what the probe saw
}

// TestSameAsEnvoy runs every scenario through a real Envoy, through the
// emulator natively, and through the emulator with the probe on wazero.
func TestSameAsEnvoy(t *testing.T) {
	module := emulator.Build(t, probe.Module)
	real := startEnvoy(t)
	const started = probe.Prefix + "start size=8 config=settings node=probe"
	if !slices.Contains(real.lines(), started) {
		t.Errorf("the plugin started with %v", real.lines())
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			want := real.run(t, s)
			for name, o := range map[string]emulator.Options{"native": {VM: probe.New}, "wazero": {Module: module}} {
				synctest.Test(t, func(t *testing.T) {
					if got := emulated(t, o, s); !reflect.DeepEqual(got, want) {
						t.Errorf("%s:\n got %+v\nEnvoy %+v", name, got, want)
					}
				})
			}
		})
	}
}

// timeout is the route's for models that are silent, and patience how long a
// scenario may take.
const timeout, patience = 300 * time.Millisecond, time.Second

func emulated(t *testing.T, o emulator.Options, s scenario) outcome {
	o.Configuration, o.BufferLimit, o.Node = "settings", bufferLimit, "probe"
	o.Route = probed
	o.Call = called
	h := emulator.New(t, o)
	if lines := warnings(h.Log()); !slices.Contains(lines, probe.Prefix+"start size=8 config=settings node=probe") {
		t.Errorf("the plugin started with %v", lines)
	}
	out := exchange(h, s)
	out.Seen = seen(warnings(h.Log()), s.name)
	return out
}

// exchange is one scenario in the emulator.
func exchange(h *emulator.Host, s scenario) outcome {
	q := emulator.Request{Body: s.sent, Headers: [][2]string{{"x-case", s.name}, {"x-probe", s.plan}}}
	if s.ends {
		q.Trailers = [][2]string{{"x-end", "yes"}}
	}
	stream := h.Ask(q)
	stream.Set("counted", "metadata", "filter_metadata", "probe", "verdict")
	if !stream.Asked().End { // held, until a tick
		h.Advance(2 * probe.Period * time.Millisecond)
	}
	stream.Answer(s.model.emulated())
	if s.model.fault == "silent" {
		h.Advance(timeout)
		stream.Answer(emulator.Answer{Fault: emulator.Late})
	}
	h.Advance(patience)
	r := stream.Response()
	out := outcome{Status: r.Status, Body: short(string(r.Body)), Broken: r.Broken}
	for _, pair := range r.Headers {
		if !noted.MatchString(pair[0]) {
			continue
		}
		if n := len(out.Headers); n > 0 && strings.HasPrefix(out.Headers[n-1], pair[0]+":") {
			out.Headers[n-1] += "," + pair[1]
		} else {
			out.Headers = append(out.Headers, pair[0]+": "+pair[1])
		}
	}
	// As HTTP/1 is written.
	if r.Header("content-length") == "" && r.Status != 204 && r.Status != 0 {
		if len(r.Body) == 0 && r.EndWithHeaders {
			out.Headers = append(out.Headers, "content-length: 0")
		} else {
			out.Headers = append(out.Headers, "transfer-encoding: chunked")
		}
	}
	slices.Sort(out.Headers)
	return out
}

func warnings(log []string) []string {
	var out []string
	for _, line := range log {
		if rest, ok := strings.CutPrefix(line, "warning "); ok {
			out = append(out, rest)
		}
	}
	return out
}

// called is what the clusters of startEnvoy answer.
func called(c emulator.Call) emulator.Reply {
	switch c.Cluster {
	case "model":
		return emulator.Reply{Body: "answer to call"}
	case "dead":
		return emulator.Reply{Refused: true}
	case "resetting":
		return emulator.Reply{Reset: true}
	case "mute":
		return emulator.Reply{Never: true}
	}
	return emulator.Reply{Unknown: true}
}

func (a answer) emulated() emulator.Answer {
	out := emulator.Answer{Status: a.status, Headers: a.headers, Trailers: a.trailers, Fault: emulator.Fault(a.fault)}
	all := strings.Join(a.chunks, "")
	switch {
	case len(a.trailers) > 0:
		out.Chunks = a.chunks
	case a.fault == "cut":
		out.Chunks = a.chunks
		out.Headers = append(slices.Clone(out.Headers), [2]string{"content-length", fmt.Sprint(len(all))})
	default:
		out.Body = all
	}
	return out
}

// noted are the response headers that are compared.
var noted = regexp.MustCompile(`(?i)^(x-.*|content-.*|transfer-encoding)$`)

var pieces = regexp.MustCompile(`^(request|response)-body n=\d+ end=false`)

// seen returns what the probe logged of a scenario. How a body is cut into
// pieces is the network's, so what is not its end is left out.
func seen(lines []string, name string) []string {
	var out []string
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, probe.Prefix+name+" "); ok && !pieces.MatchString(rest) {
			out = append(out, rest)
		}
	}
	return out
}

func short(body string) string {
	if len(body) > 1000 {
		return fmt.Sprintf("%d bytes", len(body))
	}
	return body
}
