package emulator

import (
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
)

// The methods of a machine that are named as host calls are are those of
// proxywasm.Host, and what the imports of a module end in.

var levels = [...]string{"trace", "debug", "info", "warning", "error", "critical"}

func (m *machine) Log(level abi.Level, message string) {
	m.host.crossed["proxy_log"]++
	name := "unknown"
	if int(level) < len(levels) {
		name = levels[level]
	}
	m.host.note(name, message)
}

func (m *machine) SetTickPeriod(milliseconds uint32) abi.Status {
	m.host.crossed["proxy_set_tick_period_milliseconds"]++
	m.period = time.Duration(milliseconds) * time.Millisecond
	m.nextTick = time.Now().Add(m.period)
	return abi.OK
}

func (m *machine) SetEffectiveContext(id uint32) abi.Status {
	m.host.crossed["proxy_set_effective_context"]++
	if m.streams[id] == nil && id != rootID {
		return abi.BadArgument
	}
	m.effective = id
	return abi.OK
}

func (m *machine) GetProperty(path string) ([]byte, abi.Status) {
	m.host.crossed["proxy_get_property"]++
	if path == "xds\x00node\x00id" { // the plugin's context has it too
		return []byte(m.host.options.Node), abi.OK
	}
	if s := m.stream(); s != nil {
		if value, ok := s.property(path); ok {
			return []byte(value), abi.OK
		}
	}
	return nil, abi.NotFound
}

// buffer returns where a buffer's bytes are, or nil.
func (m *machine) buffer(kind abi.Buffer) *[]byte {
	s := m.stream()
	switch {
	case kind == abi.VMConfiguration:
		return &[]byte{}
	case kind == abi.PluginConfiguration && m.configure:
		b := []byte(m.host.options.Configuration)
		return &b
	case kind == abi.CallResponseBody && m.reply != nil:
		b := []byte(m.reply.Body)
		return &b
	case kind == abi.RequestBody && s != nil:
		return s.request.visible()
	case kind == abi.ResponseBody && s != nil:
		return s.response.visible()
	}
	return nil
}

func (m *machine) GetBuffer(kind abi.Buffer, start, size uint32) ([]byte, abi.Status) {
	m.host.crossed["proxy_get_buffer_bytes"]++
	b := m.buffer(kind)
	switch {
	case b == nil:
		return nil, abi.NotFound
	case start > start+size:
		return nil, abi.BadArgument
	case int(start) >= len(*b):
		return nil, abi.OK
	}
	return slices.Clone((*b)[start:min(int(start)+int(size), len(*b))]), abi.OK
}

func (m *machine) SetBuffer(kind abi.Buffer, start, size uint32, data []byte) abi.Status {
	m.host.crossed["proxy_set_buffer_bytes"]++
	b := m.buffer(kind)
	switch {
	case b == nil:
		return abi.NotFound
	case kind != abi.RequestBody && kind != abi.ResponseBody:
		return abi.BadArgument
	case start == 0 && size == 0:
		*b = append(slices.Clone(data), *b...)
	case start == 0 && int(size) >= len(*b):
		*b = slices.Clone(data)
	case int(start) >= len(*b) && start > 0:
		*b = append(*b, data...)
	default:
		return abi.BadArgument
	}
	return abi.OK
}

// headers returns where a map's pairs are, or nil.
func (m *machine) headers(kind abi.Map) *[][2]string {
	s := m.stream()
	switch {
	case kind == abi.CallResponseHeaders && m.reply != nil:
		return &m.reply.Headers
	case kind == abi.CallResponseTrailers && m.reply != nil && len(m.reply.Trailers) > 0:
		return &m.reply.Trailers
	case s == nil:
		return nil
	case kind == abi.RequestHeaders && s.request.readable:
		return &s.request.headers
	case kind == abi.RequestTrailers && s.request.trailersReadable:
		return &s.request.trailers
	case kind == abi.ResponseHeaders && s.response.readable:
		return &s.response.headers
	case kind == abi.ResponseTrailers && s.response.trailersReadable:
		return &s.response.trailers
	}
	return nil
}

func (m *machine) GetPairs(kind abi.Map) ([]byte, abi.Status) {
	m.host.crossed["proxy_get_header_map_pairs"]++
	h := m.headers(kind)
	if h == nil || len(*h) == 0 {
		return nil, abi.OK
	}
	return abi.AppendPairs(nil, *h), abi.OK
}

// SetPairs replaces a map. Bytes that are no pairs are none, as Envoy has it.
func (m *machine) SetPairs(kind abi.Map, encoded []byte) abi.Status {
	m.host.crossed["proxy_set_header_map_pairs"]++
	h := m.headers(kind)
	if h == nil {
		return abi.BadArgument
	}
	*h, _ = pairs(encoded)
	return abi.OK
}

func (m *machine) GetValue(kind abi.Map, key string) ([]byte, abi.Status) {
	m.host.crossed["proxy_get_header_map_value"]++
	h := m.headers(kind)
	if h == nil {
		return nil, abi.BadArgument
	}
	key = strings.ToLower(key)
	for _, pair := range *h {
		if pair[0] == key {
			return []byte(pair[1]), abi.OK
		}
	}
	return nil, abi.NotFound
}

func (m *machine) AddValue(kind abi.Map, key, value string) abi.Status {
	m.host.crossed["proxy_add_header_map_value"]++
	h := m.headers(kind)
	if h == nil {
		return abi.BadArgument
	}
	*h = append(*h, [2]string{strings.ToLower(key), strings.Clone(value)})
	return abi.OK
}

func (m *machine) ReplaceValue(kind abi.Map, key, value string) abi.Status {
	m.host.crossed["proxy_replace_header_map_value"]++
	h := m.headers(kind)
	if h == nil {
		return abi.BadArgument
	}
	key = strings.ToLower(key)
	i := slices.IndexFunc(*h, func(pair [2]string) bool { return pair[0] == key })
	if i < 0 {
		*h = append(*h, [2]string{key, strings.Clone(value)})
		return abi.OK
	}
	(*h)[i][1] = strings.Clone(value)
	rest := slices.DeleteFunc((*h)[i+1:], func(pair [2]string) bool { return pair[0] == key })
	*h = (*h)[:i+1+len(rest)]
	return abi.OK
}

func (m *machine) RemoveValue(kind abi.Map, key string) abi.Status {
	m.host.crossed["proxy_remove_header_map_value"]++
	h := m.headers(kind)
	if h == nil {
		return abi.BadArgument
	}
	key = strings.ToLower(key)
	*h = slices.DeleteFunc(*h, func(pair [2]string) bool { return pair[0] == key })
	return abi.OK
}

// ContinueStream resumes after the callback. Request headers can no longer be
// read then, whichever way goes on.
func (m *machine) ContinueStream(stream abi.Stream) abi.Status {
	m.host.crossed["proxy_continue_stream"]++
	if stream > abi.Response {
		return abi.Unimplemented
	}
	s := m.stream()
	if s == nil {
		return abi.OK
	}
	m.actions = append(m.actions, func() {
		if stream == abi.Request {
			s.resumeRequest()
		} else {
			s.resumeResponse()
		}
	})
	s.request.readable = false
	return abi.OK
}

// SendLocalResponse answers after the callback.
func (m *machine) SendLocalResponse(code uint32, details string, body, headers []byte, grpcStatus int32) abi.Status {
	m.host.crossed["proxy_send_local_response"]++
	m.stop = true
	s := m.stream()
	if s == nil {
		return abi.OK
	}
	r := local{status: int(code), body: string(body), details: strings.ReplaceAll(details, " ", "_"), grpc: grpcStatus}
	r.headers, _ = pairs(headers)
	m.actions = append(m.actions, func() { s.local(r) })
	return abi.OK
}

// pairs decodes what a filter handed over, with names in lower case, and keeps
// nothing of it.
func pairs(encoded []byte) ([][2]string, error) {
	list, err := abi.Pairs(slices.Clone(encoded))
	for i := range list {
		list[i][0] = strings.ToLower(list[i][0])
	}
	return list, err
}
