package proxywasm_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// pausing answers every callback with a pause, and notes them.
func pausing(seen *[]string) *scripted {
	return &scripted{made: func(uint32) types.HttpContext {
		return &stream{do: func(callback string) types.Action {
			*seen = append(*seen, callback)
			return types.ActionPause
		}}
	}}
}

func TestEveryCallbackReachesItsContext(t *testing.T) {
	for name, call := range callbacks {
		var seen []string
		start(pausing(&seen))
		proxywasm.ProxyOnRequestHeaders(7, 1, 0)
		seen = nil
		action := call(7)
		if name != "proxy_on_delete" && action != uint32(types.ActionPause) {
			t.Errorf("%s returned %d", name, action)
		}
		if !slices.Equal(seen, []string{name}) {
			t.Errorf("%s called %v", name, seen)
		}
	}
}

func TestUnknownStreamsPass(t *testing.T) {
	for name, call := range callbacks {
		if name == "proxy_on_request_headers" {
			continue
		}
		var seen []string
		f := start(pausing(&seen))
		f.calls = nil
		if action := call(99); action != uint32(types.ActionContinue) || len(seen) > 0 || len(f.calls) > 0 {
			t.Errorf("%s of a stream that never began: %d, %v, %v", name, action, seen, f.calls)
		}
	}
}

func TestStreamsEndOnce(t *testing.T) {
	var seen []string
	start(pausing(&seen))
	proxywasm.ProxyOnRequestHeaders(7, 1, 1)
	proxywasm.ProxyOnDelete(7)
	proxywasm.ProxyOnDelete(7)
	if action := proxywasm.ProxyOnResponseHeaders(7, 1, 0); action != 0 {
		t.Errorf("a stream that has ended was paused")
	}
	want := []string{"proxy_on_request_headers", "proxy_on_delete"}
	if !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
	proxywasm.ProxyOnRequestHeaders(7, 1, 1) // the number is given out again
	if len(seen) != 3 {
		t.Errorf("a new stream of the same number got no context: %v", seen)
	}
}

func TestStreamWithoutContextPasses(t *testing.T) {
	start(&scripted{})
	for name, call := range callbacks {
		if call(7) != 0 {
			t.Errorf("%s did not go on", name)
		}
	}
}

func TestNoStreamsBeforeThePlugin(t *testing.T) {
	newFake()
	for name, call := range callbacks {
		if call(7) != 0 {
			t.Errorf("%s did not go on", name)
		}
	}
	proxywasm.ProxyOnTick(1)
	if proxywasm.ProxyOnVMStart(1, 0) != 0 || proxywasm.ProxyOnConfigure(1, 0) != 0 {
		t.Error("a VM without a context has started")
	}
}

func TestStreamsBelongToTheNewestPlugin(t *testing.T) {
	var made []string
	s := &scripted{}
	f := start(s)
	_ = f
	s.made = nil
	byPlugin := &perPlugin{made: &made}
	newFake()
	proxywasm.SetVMContext(byPlugin)
	for _, id := range []uint32{1, 2} {
		proxywasm.ProxyOnVMStart(id, 0)
		proxywasm.ProxyOnConfigure(id, 0)
	}
	proxywasm.ProxyOnRequestHeaders(10, 1, 1)
	proxywasm.ProxyOnDelete(2) // its listener is gone
	proxywasm.ProxyOnRequestHeaders(11, 1, 1)
	proxywasm.ProxyOnConfigure(3, 0)
	proxywasm.ProxyOnConfigure(1, 0) // configured anew
	proxywasm.ProxyOnRequestHeaders(12, 1, 1)
	if want := []string{"2", "1", "1"}; !slices.Equal(made, want) {
		t.Errorf("streams were made by plugins %v, want %v", made, want)
	}
	if !slices.Equal(byPlugin.plugins, []uint32{1, 2, 3}) {
		t.Errorf("plugins %v", byPlugin.plugins)
	}
}

type perPlugin struct {
	types.DefaultVMContext
	made    *[]string
	plugins []uint32
}

func (p *perPlugin) NewPluginContext(id uint32) types.PluginContext {
	p.plugins = append(p.plugins, id)
	return &onePlugin{made: p.made, id: id}
}

type onePlugin struct {
	types.DefaultPluginContext
	made *[]string
	id   uint32
}

func (p *onePlugin) NewHttpContext(uint32) types.HttpContext {
	*p.made = append(*p.made, string(rune('0'+p.id)))
	return &types.DefaultHttpContext{}
}

func TestStartIsRefused(t *testing.T) {
	s := &scripted{
		vmStart:     func() types.OnVMStartStatus { return types.OnVMStartStatusFailed },
		pluginStart: func() types.OnPluginStartStatus { return types.OnPluginStartStatusFailed },
	}
	newFake()
	proxywasm.SetVMContext(s)
	if proxywasm.ProxyOnVMStart(1, 0) != 0 || proxywasm.ProxyOnConfigure(1, 0) != 0 {
		t.Error("the host was told that it started")
	}
}

// TestCallsComeBack follows HTTP calls to their callbacks.
func TestCallsComeBack(t *testing.T) {
	var back []string
	dispatch := func(f *fake, token uint32, name string) {
		f.token = token
		got, err := proxywasm.DispatchHttpCall("cluster", [][2]string{{":path", "/"}}, nil, nil, 100,
			func(headers, size, trailers int) { back = append(back, name) })
		if got != token || err != nil {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	var f *fake
	s := &scripted{made: func(id uint32) types.HttpContext {
		return &stream{do: func(callback string) types.Action {
			if callback == "proxy_on_request_headers" {
				dispatch(f, 4*id, "of a stream")
			}
			return types.ActionContinue
		}}
	}}
	s.tick = func() { dispatch(f, 400, "of the plugin") }
	f = start(s)
	proxywasm.ProxyOnRequestHeaders(7, 1, 1)
	proxywasm.ProxyOnRequestHeaders(8, 1, 1)
	proxywasm.ProxyOnRequestHeaders(9, 1, 1)
	proxywasm.ProxyOnTick(1)

	proxywasm.ProxyOnHTTPCallResponse(1, 28, 3, 10, 0)
	proxywasm.ProxyOnHTTPCallResponse(1, 28, 3, 10, 0) // no second time
	if want := []string{"of a stream"}; !slices.Equal(back, want) || f.called("effective 7") != 1 {
		t.Errorf("%v, %v", back, f.calls)
	}
	proxywasm.ProxyOnDelete(8)
	proxywasm.ProxyOnHTTPCallResponse(1, 32, 3, 10, 0) // its stream is gone
	f.status["effective "] = abi.BadArgument
	proxywasm.ProxyOnHTTPCallResponse(1, 36, 3, 10, 0) // the host has let go of it
	f.status["effective "] = abi.OK
	proxywasm.ProxyOnHTTPCallResponse(1, 12345, 3, 10, 0) // nobody's
	if len(back) != 1 {
		t.Errorf("calls of streams that are gone came back: %v", back)
	}
	proxywasm.ProxyOnHTTPCallResponse(1, 400, 0, 0, 0)
	if want := []string{"of a stream", "of the plugin"}; !slices.Equal(back, want) {
		t.Errorf("%v, want %v", back, want)
	}
}

func TestCallThatFailsHasNoCallback(t *testing.T) {
	f := start(&scripted{})
	f.status["call "], f.token = abi.BadArgument, 4
	_, err := proxywasm.DispatchHttpCall("nowhere", nil, nil, nil, 0, func(int, int, int) { t.Error("called back") })
	if err != types.ErrorStatusBadArgument {
		t.Errorf("%v", err)
	}
	proxywasm.ProxyOnHTTPCallResponse(1, 4, 0, 0, 0)
}

// TestOneActOfAStream holds what Envoy does not survive.
func TestOneActOfAStream(t *testing.T) {
	answer := func() error { return proxywasm.SendHttpResponse(200, nil, nil, -1) }
	resume := proxywasm.ResumeHttpResponse
	for name, c := range map[string]struct {
		in   map[string][]func() error
		want string // of the calls that reach the host, and those refused
	}{
		"an answer":               {map[string][]func() error{"proxy_on_response_body": {answer}}, "local"},
		"two answers":             {map[string][]func() error{"proxy_on_response_body": {answer, answer}}, "local refused"},
		"answer, resume":          {map[string][]func() error{"proxy_on_response_body": {answer, resume}}, "local refused"},
		"resume, answer":          {map[string][]func() error{"proxy_on_response_body": {resume, answer}}, "continue refused"},
		"resume twice":            {map[string][]func() error{"proxy_on_response_body": {resume, resume}}, "continue refused"},
		"resume, answer later":    {map[string][]func() error{"proxy_on_request_headers": {resume}, "proxy_on_response_body": {answer}}, "continue local"},
		"answered before":         {map[string][]func() error{"proxy_on_request_headers": {answer}, "proxy_on_response_body": {answer}}, "local refused"},
		"resumed after an answer": {map[string][]func() error{"proxy_on_request_headers": {answer}, "proxy_on_response_body": {resume}}, "local refused"},
		"at the end":              {map[string][]func() error{"proxy_on_delete": {answer, resume}}, "refused refused"},
	} {
		var got []string
		var f *fake
		f = start(&scripted{made: func(uint32) types.HttpContext {
			return &stream{do: func(callback string) types.Action {
				for _, act := range c.in[callback] {
					before := len(f.calls)
					if err := act(); err != nil {
						got = append(got, "refused")
					} else {
						got = append(got, strings.Fields(f.calls[before])[0])
					}
				}
				return types.ActionPause
			}}
		}})
		proxywasm.ProxyOnRequestHeaders(7, 1, 1)
		proxywasm.ProxyOnResponseBody(7, 1, 1)
		proxywasm.ProxyOnDelete(7)
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

// TestTickAnswersManyStreams answers each stream once in one callback.
func TestTickAnswersManyStreams(t *testing.T) {
	s := &scripted{made: func(uint32) types.HttpContext { return &types.DefaultHttpContext{} }}
	f := start(s)
	var refused int
	s.tick = func() {
		for _, id := range []uint32{7, 8, 7} {
			if err := proxywasm.SetEffectiveContext(id); err != nil {
				t.Error(err)
			}
			if proxywasm.SendHttpResponse(503, nil, nil, -1) != nil {
				refused++
			}
		}
	}
	proxywasm.ProxyOnRequestHeaders(7, 1, 1)
	proxywasm.ProxyOnRequestHeaders(8, 1, 1)
	proxywasm.ProxyOnTick(1)
	if f.called("local 503") != 2 || refused != 1 {
		t.Errorf("%v, %d refused", f.calls, refused)
	}
	f.status["effective "] = abi.BadArgument
	s.tick = func() {
		if err := proxywasm.SetEffectiveContext(9); err != types.ErrorStatusBadArgument {
			t.Errorf("a context that the host does not have: %v", err)
		}
	}
	proxywasm.ProxyOnTick(1)
}
