package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/filter"
)

// TestHostsAgree asks every case of every protocol in four ways: of the processor and
// of the filter in a real Envoy, of the filter natively, and of the module on another
// WASM runtime. What the caller gets must be the same bytes.
func TestHostsAgree(t *testing.T) {
	primary, fallback := models(t)
	processor, inside := localOnly(t, "Processor", primary, fallback), localOnly(t, "WASM", primary, fallback)
	flags := []string{"--wasm-module", dataplane.Module(t)}
	c := &corpus{
		primary:   primary,
		processor: dataplane.Start(t, dataplane.Options{Config: processor}),
		inEnvoy:   dataplane.Start(t, dataplane.Options{Config: inside, Serve: flags, Render: flags}),
		policies:  policiesOf(t, inside),
	}
	text, err := os.ReadFile(dataplane.Module(t))
	if err != nil {
		t.Fatal(err)
	}
	module, err := emulator.Load(text, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = module.Close() })
	c.wazero = emulator.New(t, emulator.Options{Module: module, Configuration: pluginConfiguration, BufferLimit: renderedBuffer})
	var count tally
	for _, f := range append([]fm.Fault{fm.None}, fm.Faults()...) {
		for _, p := range fm.Protocols {
			if f != fm.None && (!f.On(p) || expected[f].group == "constant") {
				continue
			}
			count.run(t, f.String()+"/"+p.String(), func(t *testing.T) {
				if !c.agree(t, f, p) {
					count.na++
				}
			})
		}
	}
	fmt.Printf("figure hosts=4 cases=%d on_the_wire_only=%d\n", count.cells, count.na)
	count.done(t)
}

// localOnly is writeConfig without rungs that ask anybody.
func localOnly(t *testing.T, host string, primary, fallback *fm.Server) string {
	t.Helper()
	dir := writeConfig(t, "WASM", primary, fallback) // the same groups for both
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	asks := regexp.MustCompile(`(?m)^  - fallback: .*\n`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(asks.ReplaceAll(text, nil), []byte("host: WASM"), []byte("host: "+host), 1)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// policiesOf are the compiled policies of a folder, by their model's name.
func policiesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	s, _ := compile.Dir(dir)
	if s == nil {
		t.Fatal("the folder is refused")
	}
	out := map[string]string{}
	for i := range s.Routes {
		if p := s.Routes[i].Policy; p != nil {
			text, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(p.Model, "default/")] = string(text)
		}
	}
	return out
}

// corpus is what the cases share.
type corpus struct {
	primary            *fm.Server
	processor, inEnvoy *dataplane.Plane
	policies           map[string]string
	wazero             *emulator.Host // runs the module
}

// onTheWire are faults that no answer has, and that are Envoy's to see.
var onTheWire = []string{"S05", "S06", "S07", "S08", "S09", "S15"}

// told is what a caller gets.
type told struct {
	status                     int
	source, reason, kind, body string
}

func toldBy(status int, get func(string) string, body []byte) told {
	return told{status, get("x-safestate-source"), get("x-safestate-reason"), get("content-type"), string(body)}
}

// agree asks one case everywhere. It is false where the fault is on the wire, which is
// for Envoy alone.
func (c *corpus) agree(t *testing.T, f fm.Fault, p fm.Protocol) bool {
	route := routeName(p, orElse(expected[f].group, "main"))
	q := inference(p, route, f.Rows(), nil)
	ask := func(of *dataplane.Client) dataplane.Answer {
		c.primary.Set(f, 0)
		defer c.primary.Set(fm.None, 0)
		return of.Do(q)
	}
	if slices.Contains(onTheWire, f.Entry()) {
		return false
	}
	direct := dataplane.NewClient(c.primary.Addr())
	defer direct.Close()
	raw := ask(direct)
	if raw.Err != nil {
		return false
	}
	want := c.viaEnvoy(t, ask, c.processor)
	for name, got := range map[string]told{
		"the filter in Envoy":  c.viaEnvoy(t, ask, c.inEnvoy),
		"the filter natively":  c.natively(t, route, q, raw),
		"the module on wazero": c.emulated(c.wazero, route, q, raw),
	} {
		if got != want {
			t.Errorf("%s says\n%.400v\nand the processor\n%.400v", name, got, want)
		}
	}
	return true
}

func (c *corpus) viaEnvoy(t *testing.T, ask func(*dataplane.Client) dataplane.Answer, plane *dataplane.Plane) told {
	t.Helper()
	a := ask(plane.Client)
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	return toldBy(a.Status, a.Header.Get, a.Body)
}

// What the control plane renders.
const (
	pluginConfiguration = `{"answers":"safestate_answers"}`
	renderedBuffer      = 3 << 20
)

// natively runs the filter in a host of its own: one at a time can.
func (c *corpus) natively(t *testing.T, route string, q dataplane.Request, raw dataplane.Answer) told {
	t.Helper()
	h, err := emulator.Start(emulator.Options{VM: filter.NewVMContext, Configuration: pluginConfiguration, BufferLimit: renderedBuffer})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return c.emulated(h, route, q, raw)
}

func (c *corpus) emulated(h *emulator.Host, route string, q dataplane.Request, raw dataplane.Answer) told {
	text := c.policies[route]
	h.SetRoute(emulator.Route{Name: route, Cluster: "default/" + route + "/v1", Metadata: map[string]map[string]string{
		policy.MetadataNamespace: {policy.MetadataPolicy: text, policy.MetadataPolicyDigest: policy.Digest(text)},
	}})
	asked := emulator.Request{Path: q.Path, Body: string(q.Body), Headers: [][2]string{{"content-type", "application/json"}}}
	for name, values := range q.Header {
		for _, v := range values {
			asked.Headers = append(asked.Headers, [2]string{strings.ToLower(name), v})
		}
	}
	answer := emulator.Answer{Status: raw.Status, Body: string(raw.Body), Headers: [][2]string{{"x-envoy-upstream-service-time", "1"}}}
	if raw.Header.Get("Content-Length") == "" { // it came in pieces
		answer.Body, answer.Chunks = "", pieces(raw.Body)
	}
	for name, values := range raw.Header {
		for _, v := range values {
			if name != "Content-Length" {
				answer.Headers = append(answer.Headers, [2]string{strings.ToLower(name), v})
			}
		}
	}
	r := h.Do(asked, answer).Response()
	return toldBy(r.Status, r.Header, r.Body)
}

// pieces cuts a body as a connection does.
func pieces(b []byte) (out []string) {
	const size = 64 << 10
	for len(b) > size {
		out, b = append(out, string(b[:size])), b[size:]
	}
	return append(out, string(b))
}
