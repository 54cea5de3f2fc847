package proxywasm_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

func TestStatusesAreErrors(t *testing.T) {
	f := newFake()
	for status, want := range map[abi.Status]error{
		abi.OK: nil, abi.NotFound: types.ErrorStatusNotFound, abi.BadArgument: types.ErrorStatusBadArgument,
		abi.Empty: types.ErrorStatusEmpty, abi.CasMismatch: types.ErrorStatusCasMismatch,
		abi.InternalFailure: types.ErrorInternalFailure, abi.Unimplemented: types.ErrorUnimplemented,
	} {
		f.status["tick "] = status
		if err := proxywasm.SetTickPeriodMilliSeconds(1); !errors.Is(err, want) {
			t.Errorf("%d: %v", status, err)
		}
	}
	f.status["tick "] = 77
	if err := proxywasm.SetTickPeriodMilliSeconds(1); err == nil || !strings.Contains(err.Error(), "77") {
		t.Errorf("%v", err)
	}
}

func TestHeadersAreRead(t *testing.T) {
	f := newFake()
	want := [][2]string{{":status", "200"}, {"a", ""}}
	f.hands = abi.AppendPairs(nil, want)
	for name, read := range map[string]func() ([][2]string, error){
		"pairs 0": proxywasm.GetHttpRequestHeaders, "pairs 1": proxywasm.GetHttpRequestTrailers,
		"pairs 2": proxywasm.GetHttpResponseHeaders, "pairs 3": proxywasm.GetHttpResponseTrailers,
		"pairs 6": proxywasm.GetHttpCallResponseHeaders, "pairs 7": proxywasm.GetHttpCallResponseTrailers,
	} {
		if got, err := read(); err != nil || !reflect.DeepEqual(got, want) || f.called(name) != 1 {
			t.Errorf("%s: %v, %v, %v", name, got, err, f.calls)
		}
	}
}

// TestWhatCannotBeReadIsAnError is a host that hands over bytes that are no
// headers, and nothing where there should be something.
func TestWhatCannotBeReadIsAnError(t *testing.T) {
	f := newFake()
	f.hands = []byte("\xff\xff\xff\x00garbage")
	if got, err := proxywasm.GetHttpResponseHeaders(); err == nil {
		t.Errorf("%q", got)
	}
	f.hands = nil
	if got, err := proxywasm.GetHttpResponseHeaders(); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if b, err := proxywasm.GetHttpResponseBody(0, 10); !errors.Is(err, types.ErrorStatusNotFound) {
		t.Errorf("%q, %v", b, err)
	}
	if v, err := proxywasm.GetHttpResponseHeader("a"); err != nil || v != "" {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := proxywasm.GetProperty([]string{"a"}); err != nil || v != nil {
		t.Errorf("%q, %v", v, err)
	}
	f.status["pairs "], f.status["value "], f.status["property "], f.status["buffer "] = 1, 1, 1, 1
	if _, err := proxywasm.GetHttpResponseHeaders(); !errors.Is(err, types.ErrorStatusNotFound) {
		t.Error(err)
	}
	if _, err := proxywasm.GetHttpRequestHeader("a"); !errors.Is(err, types.ErrorStatusNotFound) {
		t.Error(err)
	}
	if _, err := proxywasm.GetProperty([]string{"a"}); !errors.Is(err, types.ErrorStatusNotFound) {
		t.Error(err)
	}
	if _, err := proxywasm.GetPluginConfiguration(); !errors.Is(err, types.ErrorStatusNotFound) {
		t.Error(err)
	}
}

func TestRangesAreChecked(t *testing.T) {
	f := newFake()
	f.hands = []byte("x")
	for _, r := range [][2]int{{-1, 1}, {1, -1}, {math.MaxInt32 + 1, 1}, {0, math.MaxInt64}} {
		if _, err := proxywasm.GetHttpResponseBody(r[0], r[1]); !errors.Is(err, types.ErrorStatusBadArgument) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if len(f.calls) != 0 {
		t.Errorf("the host was asked: %v", f.calls)
	}
}

func TestPropertyPath(t *testing.T) {
	f := newFake()
	if _, err := proxywasm.GetProperty(nil); err == nil {
		t.Error("a property without a path")
	}
	f.hands = []byte("v")
	long := strings.Repeat("p", 100_000)
	for _, path := range [][]string{{"xds", "route_name"}, {"a"}, {"", ""}, {long, long}} {
		if _, err := proxywasm.GetProperty(path); err != nil || f.called("property "+strings.Join(path, "\x00")) != 1 {
			t.Errorf("%.40q: %v", path, err)
		}
	}
}

func TestWritesReachTheHost(t *testing.T) {
	f := newFake()
	huge := [][2]string{{"a", strings.Repeat("v", 1<<20)}}
	for want, write := range map[string]func() error{
		"add 0ab":                       func() error { return proxywasm.AddHttpRequestHeader("a", "b") },
		"replace 0ab":                   func() error { return proxywasm.ReplaceHttpRequestHeader("a", "b") },
		"remove 0a":                     func() error { return proxywasm.RemoveHttpRequestHeader("a") },
		"add 2ab":                       func() error { return proxywasm.AddHttpResponseHeader("a", "b") },
		"replace 2ab":                   func() error { return proxywasm.ReplaceHttpResponseHeader("a", "b") },
		"remove 2a":                     func() error { return proxywasm.RemoveHttpResponseHeader("a") },
		"replace 3ab":                   func() error { return proxywasm.ReplaceHttpResponseTrailer("a", "b") },
		"remove 3a":                     func() error { return proxywasm.RemoveHttpResponseTrailer("a") },
		"set pairs 2 1048591":           func() error { return proxywasm.ReplaceHttpResponseHeaders(huge) },
		"set pairs 2 4":                 func() error { return proxywasm.ReplaceHttpResponseHeaders(nil) },
		"set buffer 1 0 2147483647body": func() error { return proxywasm.ReplaceHttpResponseBody([]byte("body")) },
		"set buffer 1 2147483647 0body": func() error { return proxywasm.AppendHttpResponseBody([]byte("body")) },
		"sharekv9":                      func() error { return proxywasm.SetSharedData("k", []byte("v"), 9) },
		"local 200default":              func() error { return proxywasm.SendHttpResponse(200, huge, []byte("default"), -1) },
		"continue 0":                    proxywasm.ResumeHttpRequest,
		"continue 1":                    proxywasm.ResumeHttpResponse,
	} {
		f.calls = nil
		if err := write(); err != nil || len(f.calls) != 1 || strings.ReplaceAll(f.calls[0], " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: %v, %.100v", want, err, f.calls)
		}
	}
}

func TestMetrics(t *testing.T) {
	f := newFake()
	c, g, h := proxywasm.DefineCounterMetric("c"), proxywasm.DefineGaugeMetric("g"), proxywasm.DefineHistogramMetric("h")
	c.Increment(3)
	c.Increment(0) // which Envoy refuses
	g.Add(-2)
	h.Record(5)
	if c.Value() != 42 || g.Value() != 42 {
		t.Error("values")
	}
	for call, n := range map[string]int{"increment 1 3": 1, "increment 1 0": 0, "increment 2 -2": 1, "record 3 5": 1} {
		if f.called(call) != n {
			t.Errorf("%s: %v", call, f.calls)
		}
	}
	f.status["define "] = abi.BadArgument
	defer func() {
		if recover() == nil {
			t.Error("a metric that the host refuses")
		}
	}()
	proxywasm.DefineCounterMetric("refused")
}

func TestSharedData(t *testing.T) {
	f := newFake()
	f.hands = []byte("v")
	if v, cas, err := proxywasm.GetSharedData("k"); string(v) != "v" || cas != 7 || err != nil {
		t.Errorf("%s %d %v", v, cas, err)
	}
	f.status["share "] = abi.CasMismatch
	if err := proxywasm.SetSharedData("k", nil, 7); !errors.Is(err, types.ErrorStatusCasMismatch) {
		t.Error(err)
	}
}

// TestHostCallsAllocateOnce: what the host hands over is one allocation, and
// reading header pairs out of it one more. The fake adds one of its own.
func TestHostCallsAllocateOnce(t *testing.T) {
	proxywasm.Emulate(&lean{hands: abi.AppendPairs(nil, [][2]string{{":status", "200"}, {"a", "b"}})})
	for name, c := range map[string]struct {
		most float64
		do   func()
	}{
		"header pairs": {1, func() { _, _ = proxywasm.GetHttpResponseHeaders() }},
		"a header":     {0, func() { _, _ = proxywasm.GetHttpResponseHeader("a") }},
		"a body":       {0, func() { _, _ = proxywasm.GetHttpResponseBody(0, 1<<20) }},
		"a property":   {0, func() { _, _ = proxywasm.GetProperty(path) }},
		"an answer":    {0, func() { _ = proxywasm.ReplaceHttpResponseHeaders(pairs) }},
	} {
		c.do() // the scratch is made
		if n := testing.AllocsPerRun(100, c.do); n > c.most {
			t.Errorf("%s: %v allocations, want %v", name, n, c.most)
		}
	}
}

var (
	path  = []string{"xds", "route_metadata", "filter_metadata", "safestate", "policy"}
	pairs = [][2]string{{"a", "b"}}
)

// lean is a host that costs nothing.
type lean struct {
	proxywasm.Host
	hands []byte
}

func (l *lean) GetPairs(abi.Map) ([]byte, abi.Status)                     { return l.hands, 0 }
func (l *lean) GetValue(abi.Map, string) ([]byte, abi.Status)             { return l.hands, 0 }
func (l *lean) GetBuffer(abi.Buffer, uint32, uint32) ([]byte, abi.Status) { return l.hands, 0 }
func (l *lean) GetProperty(string) ([]byte, abi.Status)                   { return l.hands, 0 }
func (l *lean) SetPairs(abi.Map, []byte) abi.Status                       { return 0 }

func TestReuseSpoils(t *testing.T) {
	f := newFake()
	f.hands = []byte("body")
	b, err := proxywasm.GetHttpResponseBody(0, 10)
	if err != nil || string(b) != "body" {
		t.Fatalf("%q, %v", b, err)
	}
	proxywasm.Reuse(b)
	if strings.Contains(string(b), "b") {
		t.Errorf("%q is still there to be read", b)
	}
	proxywasm.Reuse(nil)
}
