package emulator_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/emulator/probe"
)

// envoy is the probe in a real Envoy.
type envoy struct{ *emulator.Real }

// bufferLimit is per_connection_buffer_limit_bytes in all worlds.
const bufferLimit = 64 << 10

// probed is what Envoy says of every route.
var probed = emulator.Route{Name: "route/", Cluster: "model", Metadata: map[string]map[string]string{"probe": {"policy": `{"a":1}`}}}

func startEnvoy(t *testing.T) *envoy {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probe.wasm")
	emulator.BuildTo(t, dataplane.Root(), probe.Module, path)
	model := startModel(t, "")
	refused := probed
	refused.Cluster = "dead"
	clusters := []map[string]any{
		dataplane.Cluster("model", model, false), dataplane.Cluster("mute", startModel(t, "silent"), false),
		dataplane.Cluster("resetting", startModel(t, "reset"), false),
		dataplane.Cluster("dead", porttest.Address(t), false),
	}
	for _, c := range clusters {
		c["http_protocol_options"] = map[string]any{"enable_trailers": true}
	}
	return &envoy{emulator.StartReal(t, emulator.RealOptions{
		Wasm: path, Name: "probe", Configuration: "settings", Node: "probe", BufferLimit: bufferLimit, Clusters: clusters,
		Routes: []any{
			emulator.RealRoute("/refused", refused, "60s"), emulator.RealRoute("/silent", probed, "0.3s"), emulator.RealRoute("/", probed, "60s"),
		},
		Filters: []any{map[string]any{
			"name": "metadata",
			"typed_config": map[string]any{
				"@type":    "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
				"metadata": []any{map[string]any{"metadata_namespace": "probe", "value": map[string]any{"verdict": "counted"}}},
			},
		}},
	})}
}

// run sends the scenario's request and waits until the probe is done with it: one
// worker logs one thing after the other, so with what the next request logs all of
// it is there.
func (e *envoy) run(t *testing.T, s scenario) outcome {
	t.Helper()
	out := e.ask(t, s)
	end := probe.Prefix + s.name + " done"
	dataplane.Eventually(t, time.Minute, s.name+" is done", func() bool { return strings.Contains(e.Process.Log(), end) })
	next := "after-" + s.name
	e.ask(t, scenario{name: next})
	dataplane.Eventually(t, time.Minute, s.name+" is logged", func() bool { return strings.Contains(e.Process.Log(), probe.Prefix+next) })
	out.Seen = seen(e.lines(), s.name)
	return out
}

// ask sends the scenario's request.
func (e *envoy) ask(t *testing.T, s scenario) outcome {
	t.Helper()
	conn, err := net.Dial("tcp", e.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	method := http.MethodGet
	if s.sent != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, "http://probe/"+s.path(), strings.NewReader(s.sent))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-case", s.name)
	r.Header.Set("x-probe", s.plan)
	if s.ends {
		r.ContentLength, r.Trailer = -1, http.Header{"X-End": {"yes"}}
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	var out outcome
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		out.Broken = true
	} else {
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		out = outcome{Status: resp.StatusCode, Body: string(body), Broken: err != nil}
		for name, values := range resp.Header {
			if noted.MatchString(name) {
				out.Headers = append(out.Headers, strings.ToLower(name)+": "+strings.Join(values, ","))
			}
		}
		for _, te := range resp.TransferEncoding {
			out.Headers = append(out.Headers, "transfer-encoding: "+te)
		}
		slices.Sort(out.Headers)
	}
	out.Body = short(out.Body)
	return out
}

var logged = regexp.MustCompile(`wasm log[^:]*: (` + probe.Prefix + `.*)`)

func (e *envoy) lines() []string {
	var out []string
	for line := range strings.Lines(e.Process.Log()) {
		if m := logged.FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}

// path is what the model finds the scenario by, and Envoy the route.
func (s scenario) path() string {
	if s.model.fault != "" {
		return s.model.fault + "/" + s.name
	}
	return s.name
}

// startModel answers each scenario as it says, over raw TCP, or everything with
// the same fault.
func startModel(t *testing.T, fault string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, r.Body); err != nil || !answerTo(conn, r, fault) {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// answerTo reports whether the connection goes on.
func answerTo(conn net.Conn, r *http.Request, fault string) bool {
	a := answer{status: 200, chunks: []string{"answer to call"}}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	for _, s := range slices.Concat(scenarios, traps) {
		if s.name == name {
			a = s.model
		}
	}
	if fault != "" {
		a.fault = fault
	}
	switch a.fault {
	case "reset":
		return false
	case "silent":
		_, _ = io.Copy(io.Discard, conn) // until Envoy gives up
		return false
	}
	fmt.Fprintf(conn, "HTTP/1.1 %d x\r\n", a.status)
	for _, h := range a.headers {
		fmt.Fprintf(conn, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case len(a.trailers) > 0:
		fmt.Fprintf(conn, "transfer-encoding: chunked\r\n\r\n")
		for _, c := range a.chunks {
			fmt.Fprintf(conn, "%x\r\n%s\r\n", len(c), c)
		}
		fmt.Fprintf(conn, "0\r\n")
		for _, h := range a.trailers {
			fmt.Fprintf(conn, "%s: %s\r\n", h[0], h[1])
		}
		fmt.Fprintf(conn, "\r\n")
	default:
		fmt.Fprintf(conn, "content-length: %d\r\n\r\n", len(strings.Join(a.chunks, "")))
		for _, c := range a.chunks {
			if _, err := io.WriteString(conn, c); err != nil {
				return false
			}
			if a.fault == "cut" {
				return false
			}
		}
	}
	return true
}
