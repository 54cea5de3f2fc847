package detect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

const corpus = "testdata/corpus"

// fields is Headers over a plain map.
type fields map[string]string

func (f fields) Get(name string) (string, bool) {
	v, ok := f[name]
	return v, ok
}

// kase is one line of a file of cases.
type kase struct {
	Name               string
	Policy             string
	Method, Path       string
	RequestHeaders     fields
	RequestBody        *string
	ReportedVersion    string
	Status             int
	ResponseHeaders    fields
	ResponseBody       string
	ResponseBodyBase64 []byte
	CodeDetails        string
	HeadersOnly        bool
	Want               string
	Observed           []string
}

func (c *kase) fill(x *Exchange) {
	x.Reset()
	x.Method, x.Path, x.Status, x.CodeDetails = c.Method, c.Path, c.Status, c.CodeDetails
	x.RequestHeaders, x.ResponseHeaders = c.RequestHeaders, c.ResponseHeaders
	x.Version = policy.Version{Name: "v1", ReportedVersion: c.ReportedVersion}
	if c.RequestBody != nil {
		x.RequestBody, x.RequestBodySeen = []byte(*c.RequestBody), true
	}
	x.ResponseBody = []byte(c.ResponseBody)
	if c.ResponseBodyBase64 != nil {
		x.ResponseBody = c.ResponseBodyBase64
	}
}

func said(v verdict.Verdict) string {
	switch {
	case v.Pass != verdict.Judged:
		return "pass " + string(v.Pass)
	case v.Clean():
		return "clean"
	}
	return v.Failed.Reason()
}

func reasons(list []verdict.Finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.Reason())
	}
	return out
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func detectors(t testing.TB) map[string]*Detector {
	t.Helper()
	var policies map[string]*policy.Policy
	readJSON(t, "policies.json", &policies)
	out := map[string]*Detector{}
	for name, p := range policies {
		d, err := Compile(p)
		if err != nil {
			t.Fatalf("policy %s: %v", name, err)
		}
		out[name] = d
	}
	return out
}

// cases reads every file of cases/, one for each detector or protocol.
func cases(t testing.TB) []kase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(corpus, "cases", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of cases, %v", len(files), err)
	}
	var all []kase
	for _, file := range files {
		var list []kase
		readJSON(t, filepath.Join("cases", filepath.Base(file)), &list)
		all = append(all, list...)
	}
	return all
}

// One exchange serves all cases, as in a host: what one leaves behind must not
// show in the next.
func TestCorpus(t *testing.T) {
	byName := detectors(t)
	var x Exchange
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			d := byName[c.Policy]
			if d == nil {
				t.Fatalf("no policy %q", c.Policy)
			}
			if !d.Inference(c.Method, c.Path) {
				t.Fatalf("%s %s is no inference", c.Method, c.Path)
			}
			c.fill(&x)
			early, decided := d.Headers(&x)
			if c.HeadersOnly {
				if !decided || said(early) != c.Want {
					t.Fatalf("headers say %q (decided: %v), want %q", said(early), decided, c.Want)
				}
				return
			}
			v := d.Answer(&x)
			if got := said(v); got != c.Want {
				t.Fatalf("got  %q\nwant %q", got, c.Want)
			}
			if decided && said(early) != c.Want {
				t.Fatalf("headers decided %q, want %q", said(early), c.Want)
			}
			if got := reasons(v.Observed); c.Observed != nil && !slices.Equal(got, c.Observed) {
				t.Fatalf("observed %q, want %q", got, c.Observed)
			}
		})
	}
}

// capture reads one captured answer.
func capture(t testing.TB, name string) (status int, h fields, body []byte) {
	t.Helper()
	head, err := os.ReadFile(filepath.Join(corpus, "captures", name+".hdr"))
	if err != nil {
		t.Fatal(err)
	}
	if body, err = os.ReadFile(filepath.Join(corpus, "captures", name+".body")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.ReplaceAll(string(head), "\r", ""), "\n")
	if status, err = strconv.Atoi(strings.Fields(lines[0])[1]); err != nil {
		t.Fatal(err)
	}
	h = fields{}
	for _, line := range lines[1:] {
		if key, value, ok := strings.Cut(line, ":"); ok {
			h[strings.ToLower(key)] = strings.TrimSpace(value)
		}
	}
	return status, h, body
}

// Every captured body is judged as captures.json says, and none is left out.
func TestCaptures(t *testing.T) {
	var want map[string]struct {
		Policy string
		Want   string
	}
	readJSON(t, "captures.json", &want)
	byName := detectors(t)
	files, err := filepath.Glob(filepath.Join(corpus, "captures", "*", "*.hdr"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	var x Exchange
	for _, file := range files {
		dir, base := filepath.Split(strings.TrimSuffix(file, ".hdr"))
		name := filepath.Base(dir) + "/" + base
		t.Run(name, func(t *testing.T) {
			w, ok := want[name]
			if !ok {
				t.Fatal("captures.json does not name it")
			}
			x.Reset()
			x.Status, x.ResponseHeaders, x.ResponseBody = func() (int, Headers, []byte) {
				s, h, b := capture(t, name)
				return s, h, b
			}()
			if got := said(byName[w.Policy].Answer(&x)); got != w.Want {
				t.Fatalf("got  %q\nwant %q", got, w.Want)
			}
		})
	}
}

// A clean answer stays clean however the same JSON comes: compressed, and with
// every other policy of its protocol that promises nothing about it.
func TestCaptureCompressed(t *testing.T) {
	d := detectors(t)["v2"]
	status, h, body := capture(t, "mlserver/rest-proba")
	h["content-encoding"] = "gzip"
	x := Exchange{Status: status, ResponseHeaders: h, ResponseBody: gzipped(t, body)}
	if v := d.Answer(&x); !v.Clean() {
		t.Fatal(v.Failed.Reason())
	}
}
