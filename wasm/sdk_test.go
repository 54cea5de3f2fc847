package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/emulator/probe"
)

// forSDK are what the SDK's host looks for under other names, and calls whether
// it is there or not. It starts _start alone; a stream ends for it by on_log;
// and on_context_create has to be something that takes two numbers and does
// nothing with a stream that is not known.
var forSDK = map[string]string{
	"_start":                  "_initialize",
	"proxy_on_log":            "proxy_on_delete",
	"proxy_on_context_create": "proxy_on_response_trailers",
}

// underSDK builds a module for the SDK's host.
func underSDK(t *testing.T, folder string) proxytest.WasmVMContext {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.wasm")
	emulator.BuildTo(t, dataplane.Root(), folder, path)
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err = withExports(wasm, forSDK); err != nil {
		t.Fatal(err)
	}
	vm, err := proxytest.NewWasmVMContext(wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vm.Close() })
	return vm
}

// TestFilterUnderSDK runs the module in a host that nobody here wrote.
func TestFilterUnderSDK(t *testing.T) {
	logged := logTo(t)
	route := fraudRoute(t)
	option := proxytest.NewEmulatorOption().WithVMContext(underSDK(t, module)).
		WithPluginConfiguration([]byte(`{"answers": "safestate_answers"}`)).
		WithProperty([]string{"xds", "route_name"}, []byte(route.Name)).
		WithProperty([]string{"xds", "cluster_name"}, []byte(route.Cluster)).
		WithProperty([]string{"response", "code_details"}, []byte("via_upstream"))
	for key, value := range route.Metadata[policy.MetadataNamespace] {
		option = option.WithProperty([]string{"xds", "route_metadata", "filter_metadata", policy.MetadataNamespace, key}, []byte(value))
	}
	host, reset := proxytest.NewHostEmulator(option)
	defer reset()
	if host.StartVM() != types.OnVMStartStatusOK || host.StartPlugin() != types.OnPluginStartStatusOK {
		t.Fatal("the module did not start")
	}
	if host.GetTickPeriod() == 0 {
		t.Error("the module has no clock")
	}
	ask := func(a emulator.Answer) (id uint32, action types.Action) {
		id = host.InitializeHttpContext()
		headers := append([][2]string{{":authority", "model"}, {":method", "POST"}, {":path", question.Path}}, question.Headers...)
		host.CallOnRequestHeaders(id, headers, false)
		host.CallOnRequestBody(id, []byte(question.Body), true)
		host.CallOnResponseHeaders(id, append([][2]string{{":status", "200"}}, a.Headers...), false)
		return id, host.CallOnResponseBody(id, []byte(a.Body), true)
	}
	clean := scored("0.1")
	id, action := ask(clean)
	if action != types.ActionContinue || string(host.GetCurrentResponseBody(id)) != clean.Body || host.GetSentLocalResponse(id) != nil {
		t.Errorf("a good answer: action %d, answered %+v, %s", action, host.GetSentLocalResponse(id), host.GetCurrentResponseBody(id))
	}
	host.CompleteHttpContext(id)

	id, action = ask(scored("NaN"))
	calls := host.GetCalloutAttributesFromContext(id)
	switch {
	case action != types.ActionPause:
		t.Errorf("a bad answer: action %d", action)
	case len(calls) != 1 || calls[0].Upstream != "safestate_answers":
		t.Errorf("its ladder was asked by %+v", calls)
	default:
		host.CallOnHttpCallResponse(calls[0].CalloutID, [][2]string{{":status", "503"}}, nil, []byte("away"))
		if r := host.GetSentLocalResponse(id); r == nil || r.StatusCode != 200 || !strings.Contains(string(r.Data), `"score"`) {
			t.Errorf("answered by %+v", r)
		}
	}
	host.CompleteHttpContext(id)
	host.Tick()
	for _, level := range []string{"proxy_error_log", "proxy_critical_log"} {
		if strings.Contains(logged.String(), level) {
			t.Errorf("logged\n%s", logged)
		}
	}
}

// logTo has what the SDK's host logs in a buffer. The lines that it keeps itself
// are views of the module's memory, which changes.
func logTo(t *testing.T) *bytes.Buffer {
	var b bytes.Buffer
	log.SetOutput(&b)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return &b
}

// TestBindingUnderSDK goes through the binding's host calls there.
func TestBindingUnderSDK(t *testing.T) {
	logged := logTo(t)
	host, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(underSDK(t, probe.Module)).
		WithPluginConfiguration([]byte("settings")).WithProperty([]string{"xds", "route_name"}, []byte("route")))
	defer reset()
	if host.StartVM() != types.OnVMStartStatusOK || host.StartPlugin() != types.OnPluginStartStatusOK {
		t.Fatal("the module did not start")
	}
	if period := host.GetTickPeriod(); period != probe.Period {
		t.Errorf("a tick every %d ms", period)
	}
	id := host.InitializeHttpContext()
	plan := "request-headers=read:request-header+read:request-headers;request-body=read:request-body;" +
		"response-headers=read:xds/route_name+set:x-model:n+unlength+pause;" +
		"response-body=read:body+pause;response-end=call:answers:100+pause;call=local:200:default;done=panic"
	host.CallOnRequestHeaders(id, [][2]string{{":method", "POST"}, {"x-case", "sdk"}, {"x-probe", plan}}, false)
	host.CallOnRequestBody(id, []byte("question"), true)
	if a := host.CallOnResponseHeaders(id, [][2]string{{":status", "200"}, {"x-model", "m"}, {"content-length", "5"}}, false); a != types.ActionPause {
		t.Errorf("headers: %d", a)
	}
	for _, h := range host.GetCurrentResponseHeaders(id) {
		if h[0] == "content-length" || h[0] == "x-model" && h[1] != "n" {
			t.Errorf("header %v", h)
		}
	}
	host.CallOnResponseBody(id, []byte("he"), false)
	host.CallOnResponseBody(id, []byte("llo"), true)
	calls := host.GetCalloutAttributesFromContext(id)
	if len(calls) != 1 || calls[0].Upstream != "answers" || string(calls[0].Body) != "asked" {
		t.Fatalf("calls %+v", calls)
	}
	host.CallOnHttpCallResponse(calls[0].CalloutID, [][2]string{{":status", "201"}}, [][2]string{{"t", "v"}}, []byte("answer"))
	if r := host.GetSentLocalResponse(id); r == nil || string(r.Data) != "default" || r.Headers[0] != [2]string{"x-by", "probe"} {
		t.Errorf("answered by %+v", r)
	}
	host.CompleteHttpContext(id)
	if n, err := host.GetCounterMetric("safestate_wasm_recovered_total;.callback=.proxy_on_delete;."); n != 1 || err != nil {
		t.Errorf("counted %d panics: %v", n, err)
	}
	for _, want := range []string{
		"start size=8 config=settings", "read request-header=sdk", "read request-headers=true", "read request-body=question",
		"read xds/route_name=route", "read body=he", "call any=true status=201 body=answer", "done", "recovered proxy_on_delete",
	} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no %q in\n%s", want, logged)
		}
	}
}

// withExports adds exports to a module: each key names the function that its
// value is exported as.
func withExports(wasm []byte, names map[string]string) ([]byte, error) {
	const exportSection, function = 7, 0
	out := bytes.Clone(wasm[:8])
	for rest := wasm[8:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || uint64(len(rest)) < 1+uint64(n)+size {
			return nil, errors.New("a section is cut off")
		}
		content := rest[1+n : 1+n+int(size)]
		rest = rest[1+n+int(size):]
		if id == exportSection {
			count, at := binary.Uvarint(content)
			entries := content[at:]
			var kept []byte
			for range count {
				length, n := binary.Uvarint(entries)
				name := string(entries[n : n+int(length)])
				kind := entries[n+int(length)]
				index, m := binary.Uvarint(entries[n+int(length)+1:])
				entry := entries[:n+int(length)+1+m]
				entries = entries[len(entry):]
				kept = append(kept, entry...)
				for added, of := range names {
					if kind == function && name == of {
						kept = binary.AppendUvarint(kept, uint64(len(added)))
						kept = append(append(kept, added...), function)
						kept = binary.AppendUvarint(kept, index)
						count++
					}
				}
			}
			content = append(binary.AppendUvarint(nil, count), kept...)
		}
		out = binary.AppendUvarint(append(out, id), uint64(len(content)))
		out = append(out, content...)
	}
	return out, nil
}
