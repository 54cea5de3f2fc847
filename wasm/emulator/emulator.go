// Package emulator is, for tests, a host of Proxy-Wasm filters that behaves as
// Envoy 1.40 does with one filter and the router in its chain: pauses and
// buffers, Envoy's own replies, HTTP calls, ticks, metrics, VMs that fail and
// are built again. A filter runs in it natively, where it can be debugged and
// its coverage measured, or as the module that Envoy would load, on wazero.
//
// Its own tests run one program in it and in a real Envoy and compare what the
// program and the caller see, scenario by scenario.
//
// Not in it: other filters, HTTP/2 and its flow control, shared queues, gRPC
// calls.
//
// Time is that of package time: ticks and calls are due when it says so, and
// Advance sleeps from one to the next. In a synctest bubble that takes no time,
// natively and on wazero.
//
// A Host is one worker. It is not safe for concurrent use, and natively only
// one Host can run at a time; a second worker beside it takes turns.
package emulator

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// Options are what a plugin and its listener are configured with. Either VM or
// Module is needed.
type Options struct {
	VM            func() types.VMContext // runs natively; called for each VM
	Module        *Module                // runs on wazero
	Configuration string                 // the plugin's
	Route         Route                  // of streams for which nothing else is set
	Node          string                 // Envoy's node id
	Source        string                 // the caller's address; "": 127.0.0.1:50000
	BufferLimit   int                    // per_connection_buffer_limit_bytes; 0: 1 MiB
	// StopAll leaves allow_on_headers_stop_iteration out: a pause in headers
	// then holds bodies without a callback.
	StopAll bool
	// ReloadAfter is the least time between two builds of a VM that fails: the
	// base interval of reload_config's backoff. 0: 1 s, as in Envoy.
	ReloadAfter time.Duration
	// Call answers the HTTP calls of the filter. nil: no cluster is known.
	Call func(Call) Reply
	// Beside is another worker of the same Envoy, which has the same metrics
	// and shared data.
	Beside *Host
}

// Route is what Envoy says of a stream's route.
type Route struct {
	Name     string
	Cluster  string
	Metadata map[string]map[string]string // by namespace and key
}

const (
	defaultBufferLimit = 1 << 20
	defaultReloadAfter = time.Second
)

// Host is one worker of an Envoy.
type Host struct {
	options Options
	vm      *machine
	loaded  time.Time
	common  *common
	calls   []Call
	log     []string
	crossed map[string]int
	trapIn  string
}

// How many lines of a filter's log are shown when its test fails.
const logShown = 50

// New starts a worker with its VM and plugin, and fails the test where they
// refuse to. They end with the test.
func New(t testing.TB, o Options) *Host {
	t.Helper()
	h, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		if t.Failed() {
			t.Logf("---- the end of the filter's log\n%s", strings.Join(h.log[max(0, len(h.log)-logShown):], "\n"))
		}
	})
	return h
}

// Start is New without a test. Close ends the worker.
func Start(o Options) (*Host, error) {
	if o.BufferLimit == 0 {
		o.BufferLimit = defaultBufferLimit
	}
	if o.ReloadAfter == 0 {
		o.ReloadAfter = defaultReloadAfter
	}
	if o.Source == "" {
		o.Source = "127.0.0.1:50000"
	}
	h := &Host{options: o, common: newCommon(), crossed: map[string]int{}}
	if o.Beside != nil {
		h.common = o.Beside.common
	}
	if err := h.load(); err != nil {
		return nil, err
	}
	return h, nil
}

// Close ends the VM.
func (h *Host) Close() { h.vm.guest.close() }

// Log is what the filter logged, as "level text".
func (h *Host) Log() []string { return slices.Clone(h.log) }

// Calls are the HTTP calls that the filter made.
func (h *Host) Calls() []Call { return slices.Clone(h.calls) }

// Crossings counts the callbacks and host calls until now, by their names in
// the ABI.
func (h *Host) Crossings() map[string]int { return maps.Clone(h.crossed) }

// TrapIn has the VM fail in the next call of a callback, by its name in the
// ABI, in place of running it.
func (h *Host) TrapIn(callback string) { h.trapIn = callback }

// Failed reports whether the VM has failed and was not built again yet.
func (h *Host) Failed() bool { return h.vm.failed }

// Metric is the value of a counter or gauge, or the sum of a histogram's
// samples. One that the filter never defined is 0.
func (h *Host) Metric(name string) int64 {
	if m := h.common.metrics[name]; m != nil {
		return m.value
	}
	return 0
}

// Metrics are the names of all metrics with their values.
func (h *Host) Metrics() map[string]int64 {
	out := map[string]int64{}
	for name, m := range h.common.metrics {
		out[name] = m.value
	}
	return out
}

// Shared is the shared data under a key, and whether there is any.
func (h *Host) Shared(key string) (string, bool) {
	d, ok := h.common.data[key]
	return string(d.value), ok
}

// Share sets shared data, as another VM would.
func (h *Host) Share(key, value string) { h.common.share(key, []byte(value)) }

// Callback calls a callback with any arguments, as no Envoy would, and returns
// its result.
func (h *Host) Callback(name string, args ...uint32) uint32 {
	result := h.vm.call(args[0], name, args...)
	h.vm.after()
	h.settle()
	return result
}

// Tick calls the plugin's OnTick now, whatever its period is.
func (h *Host) Tick() {
	h.vm.call(rootID, "proxy_on_tick", rootID)
	h.vm.after()
	h.settle()
}

// Advance lets time pass: ticks and the answers of calls come when they are due.
func (h *Host) Advance(d time.Duration) {
	end := time.Now().Add(d)
	for {
		h.settle()
		next, ok := h.vm.due()
		if !ok || next.After(end) {
			break
		}
		time.Sleep(time.Until(next))
		h.vm.tick()
	}
	time.Sleep(time.Until(end))
	h.settle()
}

// settle delivers what has come for calls, as the event loop does between two
// events.
func (h *Host) settle() {
	for h.vm.answerCall() {
	}
}
