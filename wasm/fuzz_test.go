package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/filter"
)

// script reads what to do from a fuzzer's bytes. At their end it reads zeros.
type script struct{ rest []byte }

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *script) n(most int) int { return int(s.byte()) % most }

func (s *script) text() string {
	n := min(int(s.byte()), len(s.rest))
	t := string(s.rest[:n])
	s.rest = s.rest[n:]
	return t
}

// pick is one of what a test knows, or bytes of the fuzzer's.
func (s *script) pick(known ...string) string {
	if i := s.n(len(known) + 1); i < len(known) {
		return known[i]
	}
	return s.text()
}

func (s *script) header() [2]string {
	name := s.pick("content-type", "content-length", "content-encoding", "x-tenant", "transfer-encoding", "retry-after", ":status", "")
	value := s.pick("application/json", "text/event-stream", "gzip", "17", "4294967296", "-1", "application/grpc", "")
	return [2]string{name, value}
}

func (s *script) headers(first ...[2]string) [][2]string {
	for range s.n(4) {
		first = append(first, s.header())
	}
	return first
}

func (s *script) body() string {
	good := scored("0.5").Body
	return s.pick(good, scored("NaN").Body, scored("1e999").Body, good[:40], question.Body, "", "null", "[", "data: {\"choices\":[]}\n\n",
		"data: [DONE]\n\n", strings.Repeat("[", 300), strings.Repeat("x", 70_000))
}

// drive does to a filter what the script says, as Envoy would do it and as it
// never would.
func drive(h *emulator.Host, s *script) {
	var open []*emulator.Stream
	for steps := 0; len(s.rest) > 0 && steps < 200; steps++ {
		var x *emulator.Stream
		if len(open) > 0 {
			x = open[s.n(len(open))]
		}
		switch op := s.n(16); {
		case op < 2 || x == nil && op < 12:
			path := s.pick(question.Path, "/", "/v2/health/ready", "/v2/models/fraud/infer?x=1")
			method := s.pick("POST", "GET", "HEAD")
			open = append(open, h.Open(s.headers([2]string{":authority", "a"}, [2]string{":path", path}, [2]string{":method", method}), s.n(2) == 0))
		case op == 2:
			x.SendBody(s.body(), s.n(2) == 0)
		case op == 3:
			x.SendTrailers(s.headers())
		case op == 4:
			x.Headers(s.headers([2]string{":status", s.pick("200", "500", "404", "99999")}), s.n(4) == 0)
		case op == 5, op == 6:
			x.Body(s.body(), s.n(2) == 0)
		case op == 7:
			x.Trailers(s.headers())
		case op == 8:
			x.Answer(emulator.Answer{Fault: []emulator.Fault{emulator.Refused, emulator.Reset, emulator.Late, emulator.Cut}[s.n(4)], Chunks: []string{s.body()}})
		case op == 9:
			x.Leave()
		case op == 10:
			x.Reply(200+s.n(400), s.body(), s.pick("", "via_upstream", "route_not_found"), uint64(s.byte()))
		case op == 11:
			x.Set(s.text(), "xds", "route_metadata", "filter_metadata", "safestate", s.pick("policy", "policy_digest", "generation"))
			x.Set(s.pick("counted", "clean", "seen"), "metadata", "filter_metadata", "safestate", "verdict")
		case op == 12:
			h.Advance(time.Duration(s.byte()) * 10 * time.Millisecond)
		case op == 13:
			h.Tick()
		default: // anything at all
			id := uint32(s.byte())
			if id == 255 {
				id = 1<<32 - 1
			}
			name := callbackNames[s.n(len(callbackNames))]
			h.Callback(name, id, uint32(s.byte())<<s.n(25), uint32(s.n(3)), uint32(s.byte()), uint32(s.byte()))
		}
	}
	h.Advance(2 * time.Second)
}

var callbackNames = []string{
	"proxy_on_request_headers", "proxy_on_request_body", "proxy_on_request_trailers", "proxy_on_response_headers",
	"proxy_on_response_body", "proxy_on_response_trailers", "proxy_on_http_call_response", "proxy_on_tick", "proxy_on_delete",
}

// replies are what becomes of the filter's calls, as the script has it.
func replies(s *script) func(emulator.Call) emulator.Reply {
	return func(emulator.Call) emulator.Reply {
		switch s.n(6) {
		case 0:
			return emulator.Reply{Unknown: true}
		case 1:
			return emulator.Reply{Refused: true}
		case 2:
			return emulator.Reply{Broken: true}
		case 3:
			return emulator.Reply{Never: true}
		case 4:
			return emulator.Reply{Status: 200 + s.n(400), Headers: s.headers(), Body: s.body(), After: time.Duration(s.byte()) * time.Millisecond}
		}
		return emulator.Reply{Status: 200, Headers: [][2]string{{"content-type", "application/json"}, {"x-safestate-source", "cache"}}, Body: scored("0.2").Body}
	}
}

// fuzzed runs a script and fails where the VM does or a panic was caught.
func fuzzed(t *testing.T, o emulator.Options, data []byte) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{rest: data}
		o.Route, o.Configuration, o.Call = fraudRoute(t), `{"answers": "safestate_answers"}`, replies(s)
		h, err := emulator.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		drive(h, s)
		if log := strings.Join(h.Log(), "\n"); h.Failed() || strings.Contains(log, "panic in ") || strings.Contains(log, "trap in ") {
			t.Fatalf("the filter's log:\n%s", log)
		}
		for name, n := range h.Metrics() {
			if strings.HasPrefix(name, "safestate_wasm_recovered_total") && n != 0 {
				t.Fatalf("%s is %d", name, n)
			}
		}
	})
}

func seeds(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x00\x00\x00\x00\x00\x02\x00\x04\x01\x04\x00\x00\x00\x01\x05\x00\x01\x05\x0b\x00"))
	for i := range 32 {
		b := make([]byte, 0, 400)
		for j := range 400 {
			b = append(b, byte((i*131+j*j*17+j*i)>>1))
		}
		f.Add(b)
	}
}

// FuzzFilter is the filter natively.
func FuzzFilter(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, emulator.Options{VM: filter.NewVMContext}, data) })
}

// FuzzModule is the module on wazero, where nothing may end the VM.
func FuzzModule(f *testing.F) {
	compiled := emulator.Build(f, module)
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, emulator.Options{Module: compiled}, data) })
}

// FuzzHost is a host that hands over anything: headers that are none, bodies of
// another size than it said, failures of any call.
func FuzzHost(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &anyHost{script: &script{rest: data}, route: fraudRoute(t)}
		h.run()
		if h.panicked != "" {
			t.Fatal(h.panicked)
		}
	})
}
