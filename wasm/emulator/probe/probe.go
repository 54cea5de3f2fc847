// Package probe is a filter for tests of hosts: it does in each callback what
// the request tells it, and logs what it sees. The same program runs in Envoy,
// in the emulator and on wazero, so that the three can be compared.
//
// The request says what to do in its header x-probe:
//
//	WHERE=STEP+STEP;WHERE=STEP
//
// WHERE is a callback: request-headers, request-body, request-trailers, response-headers,
// response-body, request-end and response-end (the last piece of a body, in
// place of the others), response-trailers, call, tick, done. The steps:
//
//	pause               the callback's action; without it, continue
//	local:STATUS:BODY   answer the caller, as text
//	json:STATUS:BODY    answer the caller, as JSON
//	replace:BODY        replace the response's body
//	unlength            remove the response's content-length
//	set:NAME:VALUE      replace a response header
//	status:STATUS       replace the response's status
//	call:CLUSTER:MS     an HTTP call
//	wait                what tick says is done in the next one
//	resume              go on with the response
//	resume-request      go on with the request
//	panic               a panic, which is recovered
//	trap                a stack without end, which is not
//	read:WHAT           log request-header, request-headers, request-body,
//	                    request-trailers, response-header, body, or a property
//	                    by its path with slashes
package probe

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// Prefix begins every line that the probe logs.
const Prefix = "probe "

// Period is that of the probe's ticks, in milliseconds.
const Period = 20

// New returns the probe.
func New() types.VMContext { return &vm{} }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	waiting []*stream // for a tick
}

func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if string(config) == "refused" {
		return types.OnPluginStartStatusFailed
	}
	node, nodeErr := proxywasm.GetProperty([]string{"xds", "node", "id"})
	proxywasm.LogWarn(Prefix + "start size=" + strconv.Itoa(size) + " config=" + string(config) + failure(err) +
		" node=" + string(node) + failure(nodeErr))
	if err := proxywasm.SetTickPeriodMilliSeconds(Period); err != nil {
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() {
	waiting := p.waiting
	p.waiting = nil
	for _, s := range waiting {
		if err := proxywasm.SetEffectiveContext(s.id); err != nil {
			s.log("tick gone" + failure(err))
			continue
		}
		s.log("tick")
		s.do("tick")
	}
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return &stream{plugin: p, id: id} }

type stream struct {
	plugin *plugin
	id     uint32
	name   string
	plan   string
}

func (s *stream) log(line string) { proxywasm.LogWarn(Prefix + s.name + " " + line) }

// Recovered lets the stream go on, and says that it was asked.
func (s *stream) Recovered(callback string) types.Action {
	s.log("recovered " + callback)
	return types.ActionContinue
}

func (s *stream) OnHttpRequestHeaders(n int, end bool) types.Action {
	s.name, _ = proxywasm.GetHttpRequestHeader("x-case")
	s.plan, _ = proxywasm.GetHttpRequestHeader("x-probe")
	s.log("request-headers end=" + strconv.FormatBool(end))
	return s.do("request-headers")
}

func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	s.log("request-body n=" + strconv.Itoa(size) + " end=" + strconv.FormatBool(end))
	if end && strings.Contains(s.plan, "request-end=") {
		return s.do("request-end")
	}
	return s.do("request-body")
}

func (s *stream) OnHttpRequestTrailers(n int) types.Action {
	s.log("request-trailers n=" + strconv.Itoa(n))
	return s.do("request-trailers")
}

func (s *stream) OnHttpResponseHeaders(n int, end bool) types.Action {
	status, err := proxywasm.GetHttpResponseHeader(":status")
	s.log("response-headers end=" + strconv.FormatBool(end) + " status=" + status + failure(err) + s.code())
	return s.do("response-headers")
}

func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	s.log("response-body n=" + strconv.Itoa(size) + " end=" + strconv.FormatBool(end))
	if end && strings.Contains(s.plan, "response-end=") {
		return s.do("response-end")
	}
	return s.do("response-body")
}

func (s *stream) OnHttpResponseTrailers(n int) types.Action {
	s.log("response-trailers n=" + strconv.Itoa(n))
	return s.do("response-trailers")
}

func (s *stream) OnHttpStreamDone() {
	s.log("done")
	s.do("done")
}

// code is what the host says of where a response comes from.
func (s *stream) code() string {
	details, err := proxywasm.GetProperty([]string{"response", "code_details"})
	return " details=" + string(details) + failure(err)
}

func failure(err error) string {
	if err == nil {
		return ""
	}
	return "(" + err.Error() + ")"
}

// Module builds the probe by main; see its folder.
const Module = "./wasm/emulator/probe/module"

func (s *stream) do(where string) types.Action {
	for part := range strings.SplitSeq(s.plan, ";") {
		if steps, ok := strings.CutPrefix(part, where+"="); ok {
			return s.steps(steps)
		}
	}
	return types.ActionContinue
}

func (s *stream) steps(steps string) types.Action {
	action := types.ActionContinue
	for step := range strings.SplitSeq(steps, "+") {
		name, rest, _ := strings.Cut(step, ":")
		first, second, _ := strings.Cut(rest, ":")
		var err error
		switch name {
		case "pause":
			action = types.ActionPause
		case "local":
			status, _ := strconv.Atoi(first)
			err = proxywasm.SendHttpResponse(uint32(status), [][2]string{{"x-by", "probe"}}, []byte(second), -1)
		case "json":
			status, _ := strconv.Atoi(first)
			err = proxywasm.SendHttpResponse(uint32(status), [][2]string{{"Content-Type", "application/json"}, {"x-by", "a"}, {"x-by", "b"}}, []byte(second), -1)
		case "status":
			err = proxywasm.ReplaceHttpResponseHeader(":status", rest)
		case "replace":
			err = proxywasm.ReplaceHttpResponseBody([]byte(rest))
		case "unlength":
			err = proxywasm.RemoveHttpResponseHeader("content-length")
		case "set":
			err = proxywasm.ReplaceHttpResponseHeader(first, second)
		case "call":
			err = s.call(first, second)
		case "wait":
			s.plugin.waiting = append(s.plugin.waiting, s)
		case "resume-request":
			err = proxywasm.ResumeHttpRequest()
		case "resume":
			err = proxywasm.ResumeHttpResponse()
		case "panic":
			panic("as told")
		case "trap":
			fall(0)
		case "read":
			s.log(s.read(rest))
		}
		if err != nil {
			s.log(name + failure(err))
		}
	}
	return action
}

func (s *stream) call(cluster, timeout string) error {
	ms, _ := strconv.Atoi(timeout)
	headers := [][2]string{{":method", "POST"}, {":path", "/call"}, {":authority", "probe"}}
	_, err := proxywasm.DispatchHttpCall(cluster, headers, []byte("asked"), nil, uint32(ms),
		func(headers, size, trailers int) {
			var status string
			got, err := proxywasm.GetHttpCallResponseHeaders()
			for _, h := range got {
				if h[0] == ":status" {
					status = h[1]
				}
			}
			body, bodyErr := proxywasm.GetHttpCallResponseBody(0, size)
			s.log("call any=" + strconv.FormatBool(headers > 0) + " status=" + status + failure(err) +
				" body=" + string(body) + failure(bodyErr))
			s.do("call")
		})
	return err
}

func (s *stream) read(what string) string {
	var got string
	var err error
	switch what {
	case "request-header":
		got, err = proxywasm.GetHttpRequestHeader("x-case")
	case "request-headers":
		var pairs [][2]string
		pairs, err = proxywasm.GetHttpRequestHeaders()
		got = strconv.FormatBool(len(pairs) > 0)
	case "response-header":
		got, err = proxywasm.GetHttpResponseHeader("x-model")
	case "body":
		var b []byte
		b, err = proxywasm.GetHttpResponseBody(0, 64)
		got = string(b)
	case "request-body":
		var b []byte
		b, err = proxywasm.GetHttpRequestBody(0, 64)
		got = string(b)
	case "request-trailers":
		var pairs [][2]string
		pairs, err = proxywasm.GetHttpRequestTrailers()
		for _, pair := range pairs {
			got += pair[0] + ":" + pair[1]
		}
	case "response/flags":
		var b []byte
		if b, err = proxywasm.GetProperty(strings.Split(what, "/")); len(b) == 8 {
			got = strconv.FormatUint(binary.LittleEndian.Uint64(b), 10)
		}
	default:
		var b []byte
		b, err = proxywasm.GetProperty(strings.Split(what, "/"))
		got = string(b)
	}
	return "read " + what + "=" + got + failure(err)
}

// fall ends the VM: its stack grows until there is no memory.
func fall(n int) int {
	var room [512]byte
	room[n%len(room)] = byte(n)
	return fall(n+1) + int(room[(n+1)%len(room)]) //nolint:staticcheck // SA5007: that it never ends is what it is for
}
