package emulator

import (
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// rootID is the context of the only plugin. Streams get the numbers after it.
const rootID = 1

// guest is a VM: callbacks by their names in the ABI. An error is a trap, after
// which only close is called.
type guest interface {
	call(callback string, args ...uint32) (uint32, error)
	close()
}

// machine is a VM and what the host knows of it.
type machine struct {
	host    *Host
	guest   guest
	failed  bool
	streams map[uint32]*Stream
	nextID  uint32

	current   uint32 // the context of the callback that runs
	effective uint32 // set by set_effective_context, or 0
	stop      bool   // send_local_response was called: the stream goes no further
	actions   []func()
	configure bool // the plugin's configuration can be read

	period   time.Duration
	nextTick time.Time
	pending  []*pending
	nextCall uint32
	reply    *Reply // of the call whose callback runs

	allocate api.Function                             // the module's, once it has called the host
	lie      func(data, size uint32) (uint32, uint32) // what a module is told of what it is handed

	metrics    map[uint32]*metric
	nextMetric [3]uint32
}

var errRefused = errors.New("the plugin refused its configuration")

// load builds a VM and starts the plugin in it.
func (h *Host) load() error {
	m := &machine{host: h, streams: map[uint32]*Stream{}, nextID: rootID + 1, metrics: map[uint32]*metric{}}
	var err error
	if h.options.Module != nil {
		m.guest, err = h.options.Module.start(m)
	} else {
		m.guest = startNative(m, h.options.VM())
	}
	if err != nil {
		return err
	}
	h.vm, h.loaded = m, time.Now()
	if ok := m.call(rootID, "proxy_on_vm_start", rootID, 0) == 1; !ok || m.failed {
		return errors.New("the VM refused to start")
	}
	m.after()
	m.configure = true
	ok := m.call(rootID, "proxy_on_configure", rootID, uint32(len(h.options.Configuration))) == 1
	m.configure = false
	m.after()
	if !ok || m.failed {
		return errRefused
	}
	return nil
}

// ready returns a VM for a new stream: one that failed is built again, at most
// once in ReloadAfter.
func (h *Host) ready() *machine {
	if !h.vm.failed || time.Since(h.loaded) < h.options.ReloadAfter {
		return h.vm
	}
	old := h.vm
	if err := h.load(); err != nil {
		h.note("error", "reload: "+err.Error())
		h.vm = old
		return old
	}
	old.guest.close()
	return h.vm
}

func (h *Host) note(level, line string) { h.log = append(h.log, level+" "+line) }

// call runs a callback. What the callback asked for, besides its result, waits
// for after.
func (m *machine) call(id uint32, callback string, args ...uint32) uint32 {
	if m.failed {
		return 0
	}
	m.host.crossed[callback]++
	m.current, m.effective, m.stop = id, 0, false
	var result uint32
	err := errors.New("as the test told")
	if m.host.trapIn == callback {
		m.host.trapIn = ""
	} else {
		result, err = m.guest.call(callback, args...)
	}
	m.current, m.effective = 0, 0
	if err != nil {
		m.failed, m.actions = true, nil
		m.host.note("critical", fmt.Sprintf("trap in %s: %v", callback, err))
		return 0
	}
	return result
}

// after does what the filter has asked for in a callback. Envoy does so once
// the VM has returned.
func (m *machine) after() {
	m.stop = false
	for len(m.actions) > 0 {
		act := m.actions[0]
		m.actions = m.actions[1:]
		act()
	}
}

// stream is the stream that host calls act on, or nil for the plugin's context.
func (m *machine) stream() *Stream {
	if m.effective != 0 {
		return m.streams[m.effective]
	}
	return m.streams[m.current]
}

// due is when the next tick or answer of a call is.
func (m *machine) due() (next time.Time, ok bool) {
	if m.failed {
		return next, false
	}
	if m.period > 0 {
		next, ok = m.nextTick, true
	}
	for _, p := range m.pending {
		if !p.never && (!ok || p.due.Before(next)) {
			next, ok = p.due, true
		}
	}
	return next, ok
}

// tick calls OnTick if it is due.
func (m *machine) tick() {
	if m.failed || m.period == 0 || time.Now().Before(m.nextTick) {
		return
	}
	m.nextTick = time.Now().Add(m.period)
	m.call(rootID, "proxy_on_tick", rootID)
	m.after()
}
