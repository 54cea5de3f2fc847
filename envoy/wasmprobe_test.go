package envoy

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// probeModule writes a WASM filter of a few hundred bytes, which tells what a
// filter at its place is shown:
//
//	request with x-trap     it dies
//	request with x-local    it answers by itself
//	answer with x-trap      it dies
//	any other answer        gets x-wasm: seen, x-digest (of the route's metadata)
//	                        and x-verdict (of the request's)
//
// and counts requests. It is assembled here, so that the tests of what the control
// plane renders need no other build.
func probeModule(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe.wasm")
	if err := os.WriteFile(file, probe(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// probeMetric is the counter's name as the filter's own are.
const probeMetric = "safestate_prediction_served_total;.route=.default/fraud/score;.;.model=.default/fraud;.;.model_version=.v1.2;.;.source=.primary;."

// Opcodes (WebAssembly Core Specification 1.0, section 5.4) and types.
const (
	opUnreachable, opIf, opEnd, opReturn, opCall = 0x00, 0x04, 0x0b, 0x0f, 0x10
	opLoad, opConst32, opConst64, opEqz, opDrop  = 0x28, 0x41, 0x42, 0x45, 0x1a
	noResult                                     = 0x40
	i32, i64                                     = 0x7f, 0x7e
)

// Where results are in the module's memory: of a read its place and its length, the
// counter's number; then what the host gives, then texts.
const (
	atPlace, atLength, atCounter = 16, 20, 24
	atGiven, atTexts             = 1024, 32 << 10
)

// assembler writes functions over a memory of texts.
type assembler struct{ texts bytes.Buffer }

func uleb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func sleb(n int32) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func number(n int32) []byte { return append([]byte{opConst32}, sleb(n)...) }

// text pushes the place and the length of a text.
func (a *assembler) text(s string) []byte {
	at := atTexts + a.texts.Len()
	a.texts.WriteString(s)
	return join(number(int32(at)), number(int32(len(s))))
}

func load(at int) []byte { return join(number(int32(at)), []byte{opLoad, 2, 0}) }

func call(function int) []byte { return join([]byte{opCall}, uleb(function)) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// ifOK runs body where the status before it is OK, which is 0.
func ifOK(body ...[]byte) []byte {
	return join([]byte{opEqz, opIf, noResult}, join(body...), []byte{opEnd})
}

// The host's functions that the module imports, by their numbers, then its own.
const (
	getHeader = iota
	addHeader
	getProperty
	defineMetric
	incrementMetric
	sendLocalResponse
	ownABI
	ownAllocate
	ownStart
	ownConfigure
	ownRequest
	ownResponse
)

func (a *assembler) header(of int32, name string) []byte {
	return join(number(of), a.text(name), number(atPlace), number(atLength), call(getHeader))
}

// tell copies a property into an answer's header, where there is one.
func (a *assembler) tell(name, path string) []byte {
	return join(a.text(path), number(atPlace), number(atLength), call(getProperty), ifOK(
		number(2), a.text(name), load(atPlace), load(atLength), call(addHeader), []byte{opDrop}))
}

func probe() []byte {
	a := &assembler{}
	local := `{"answered":"inside"}`
	bodies := [][]byte{
		ownABI - 6:      nil,
		ownAllocate - 6: number(atGiven),
		ownStart - 6:    number(1),
		ownConfigure - 6: join(number(0), a.text(probeMetric), number(atCounter), call(defineMetric), []byte{opDrop},
			number(1)),
		ownRequest - 6: join(
			a.header(0, "x-trap"), ifOK([]byte{opUnreachable}),
			a.header(0, "x-local"), ifOK(number(200), number(0), number(0), a.text(local), a.text(pairs(headerSource, sourceDefault)), number(-1),
				call(sendLocalResponse), []byte{opDrop}, number(1), []byte{opReturn}),
			load(atCounter), []byte{opConst64, 1}, call(incrementMetric), []byte{opDrop},
			number(0)),
		ownResponse - 6: join(
			a.header(2, "x-trap"), ifOK([]byte{opUnreachable}),
			number(2), a.text("x-wasm"), a.text("seen"), call(addHeader), []byte{opDrop},
			a.tell("x-digest", "xds\x00route_metadata\x00filter_metadata\x00safestate\x00policy_digest"),
			a.tell("x-verdict", "metadata\x00filter_metadata\x00safestate\x00verdict"),
			number(0)),
	}
	// Types by number: how many i32 they take, and whether they return one; the
	// sixth takes an i64 as well.
	types := [][]byte{signature(0, false), signature(1, true), signature(2, true), signature(3, true), signature(4, true), signature(5, true),
		{0x60, 2, i32, i64, 1, i32}, signature(8, true)}
	imports := []struct {
		name string
		of   byte
	}{
		{"proxy_get_header_map_value", 5}, {"proxy_add_header_map_value", 5}, {"proxy_get_property", 4},
		{"proxy_define_metric", 4}, {"proxy_increment_metric", 6}, {"proxy_send_local_response", 7},
	}
	exports := []struct {
		name string
		kind byte
		of   int
	}{
		{"memory", 2, 0}, {"proxy_abi_version_0_2_1", 0, ownABI}, {"proxy_on_memory_allocate", 0, ownAllocate},
		{"proxy_on_vm_start", 0, ownStart}, {"proxy_on_configure", 0, ownConfigure},
		{"proxy_on_request_headers", 0, ownRequest}, {"proxy_on_response_headers", 0, ownResponse},
	}
	var imported, exported, code [][]byte
	for _, i := range imports {
		imported = append(imported, join(named("env"), named(i.name), []byte{0, i.of}))
	}
	for _, e := range exports {
		exported = append(exported, join(named(e.name), []byte{e.kind}, uleb(e.of)))
	}
	for _, b := range bodies {
		body := join([]byte{0}, b, []byte{opEnd})
		code = append(code, join(uleb(len(body)), body))
	}
	data := join([]byte{0}, number(atTexts), []byte{opEnd}, uleb(a.texts.Len()), a.texts.Bytes())
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, types...), section(2, imported...), section(3, []byte{0}, []byte{1}, []byte{2}, []byte{2}, []byte{3}, []byte{3}),
		section(5, []byte{0, 1}), section(7, exported...), section(10, code...), section(11, data))
}

// pairs is one header as a host reads a map: how many, their lengths, and the texts
// with a zero behind each.
func pairs(name, value string) string {
	out := []byte{1, 0, 0, 0, byte(len(name)), 0, 0, 0, byte(len(value)), 0, 0, 0}
	return string(out) + name + "\x00" + value + "\x00"
}

func signature(takes int, returns bool) []byte {
	out := join([]byte{0x60, byte(takes)}, bytes.Repeat([]byte{i32}, takes))
	if returns {
		return append(out, 1, i32)
	}
	return append(out, 0)
}

func named(s string) []byte { return join(uleb(len(s)), []byte(s)) }

func section(id byte, entries ...[]byte) []byte {
	content := join(uleb(len(entries)), join(entries...))
	return join([]byte{id}, uleb(len(content)), content)
}
