package faultmodel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ask sends one inference request with n rows and returns status and body; the
// error is the transport's.
func ask(t *testing.T, s *Server, p Protocol, n int) (int, http.Header, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return askUntil(ctx, s, p, n)
}

// askUntil is ask that leaves with the end of a context.
func askUntil(ctx context.Context, s *Server, p Protocol, n int) (int, http.Header, []byte, error) {
	row := `{"amount":1200,"account_age_days":3,"merchant_category":"crypto"}`
	rows := strings.TrimSuffix(strings.Repeat(row+",", n), ",")
	var body string
	switch p {
	case V1, TF:
		body = `{"instances":[` + rows + `]}`
	case ML:
		body = `{"dataframe_records":[` + rows + `]}`
	case J:
		body = `{"id":"r1","amount":1200}`
	default:
		data := strings.TrimSuffix(strings.Repeat("1200,3,0,0,", n), ",")
		body = fmt.Sprintf(`{"id":"r1","parameters":{"binary_data_output":%v},"inputs":[{"name":"features","datatype":"FP32","shape":[%d,4],"data":[%s]}]}`,
			p == V2B, n, data)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr()+p.Path("fraud"), strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, got, err
}

// patience bounds every wait: generous, because machines are busy.
const patience = 30 * time.Second

// once is a context that ends when a condition holds.
func once(t *testing.T, holds func() bool) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		eventually(holds)
	}()
	return ctx
}

// eventually waits for a condition.
func eventually(holds func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if holds() {
			return true
		}
	}
	return holds()
}

func TestCatalogueIsComplete(t *testing.T) {
	seen := map[string]bool{}
	if len(allFaults()) != int(numFaults)-1 {
		t.Errorf("%d faults of %d exist on some protocol", len(allFaults()), numFaults-1)
	}
	for f := None + 1; f < numFaults; f++ {
		c := catalogue[f]
		if len(c.name) < 5 || seen[c.name] {
			t.Errorf("fault %d: name %q", f, c.name)
		}
		seen[c.name] = true
		ways := count(c.answer != nil, c.reply != nil, c.serve != nil)
		if want := min(int(c.on), 1); ways != want && f != S15Down {
			t.Errorf("%s has %d ways to fail, want %d", f, ways, want)
		}
		if h := chatCatalogue[f]; (h.on == 0) != (count(h.completion != nil, h.edit != nil, h.reply != nil, h.script != nil, h.serve != nil, h.prepare != nil) == 0) {
			t.Errorf("%s: its row of chat has protocols %b and another number of ways to fail", f, h.on)
		}
		if g := grpcCatalogue[f]; count(g.message != nil, g.serve != nil) > 1 || g.set() && c.on.has(G) {
			t.Errorf("%s fails in two ways over gRPC", f)
		}
		if back, err := Parse(f.String()); err != nil || back != f {
			t.Errorf("Parse(%q) = %v, %v", f, back, err)
		}
	}
	if _, err := Parse("no-such"); err == nil {
		t.Error("Parse took a name that is no fault")
	}
	if f, at, err := ParseAt("S08-cut-by-fin@40"); f != S08StreamFIN || at != 40 || err != nil {
		t.Errorf("ParseAt: %v at %d, %v", f, at, err)
	}
	if _, _, err := ParseAt("S08-cut-by-fin@-1"); err == nil {
		t.Error("ParseAt took a place before the first token")
	}
}

// count is how many hold.
func count(all ...bool) (n int) {
	for _, holds := range all {
		if holds {
			n++
		}
	}
	return n
}

// TestEveryFaultIsServed asks with each fault on each of its protocols: what
// comes differs from the clean answer and the counter says that it went out.
func TestEveryFaultIsServed(t *testing.T) {
	s, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, f := range Faults() {
		for _, p := range Protocols {
			if !f.On(p) {
				continue
			}
			t.Run(f.String()+"/"+p.String(), func(t *testing.T) {
				s.Set(None, 0)
				_, _, clean, err := ask(t, s, p, f.Rows())
				if err != nil || len(clean) == 0 {
					t.Fatalf("clean: %q, %v", clean, err)
				}
				before := s.Count(f)
				s.Set(f, 0)
				ctx := t.Context()
				if f == S06NeverAnswers || f == S07SlowBody || f == S09BodyStalls { // they end when the caller leaves
					ctx = once(t, func() bool { return s.Count(f) > before })
				}
				status, header, got, err := askUntil(ctx, s, p, f.Rows())
				if err == nil && status == http.StatusOK && bytes.Equal(got, clean) && header.Get("Content-Encoding") == "" && !strings.Contains(header.Get("Content-Type"), "utf-16") {
					t.Errorf("the answer is the clean one: %s", got)
				}
				if !eventually(func() bool { return s.Count(f) > before }) {
					t.Error("the fault was not counted")
				}
				s.Set(None, 0)
				if _, _, again, err := ask(t, s, p, f.Rows()); err != nil || !bytes.Equal(again, clean) {
					t.Errorf("clean does not follow: %q, %v", again, err)
				}
			})
		}
	}
}

func TestCleanAnswersAreJSON(t *testing.T) {
	s, err := Start(Options{Version: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, p := range Protocols {
		status, header, body, err := ask(t, s, p, 2)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v", p, status, err)
		}
		if n, err := strconv.Atoi(header.Get("Inference-Header-Content-Length")); err == nil {
			body = body[:n]
		}
		var v map[string]any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Errorf("%s: %v in %s", p, err, body)
		}
	}
	if !eventually(func() bool { return s.State().Clean == len(Protocols) }) || s.State().Requests != len(Protocols) {
		t.Errorf("state %+v, want %d requests, all clean", s.State(), len(Protocols))
	}
}

func TestScoreMovesWithEveryField(t *testing.T) {
	base := Features{Amount: 100, AccountAgeDays: 20}
	for name, f := range map[string]Features{
		"amount": {Amount: 101, AccountAgeDays: 20}, "age": {Amount: 100, AccountAgeDays: 21},
		"category": {Amount: 100, AccountAgeDays: 20, MerchantCategory: "crypto"},
		"abroad":   {Amount: 100, AccountAgeDays: 20, IsInternational: true},
	} {
		if predict("v1", base).score == predict("v1", f).score {
			t.Errorf("%s does not move the score", name)
		}
	}
	for amount := 0.0; amount < 20000; amount += 37 {
		p := predict("v1", Features{Amount: amount})
		best, second := 0.0, 0.0
		for _, v := range p.probs {
			if v > best {
				best, second = v, best
			} else if v > second {
				second = v
			}
		}
		if best < 0.5 || best-second < 0.2 || p.confidence < 0.6 {
			t.Fatalf("amount %v: probabilities %v, confidence %v are not a clean answer", amount, p.probs, p.confidence)
		}
	}
}

func TestDownEndsByItself(t *testing.T) {
	s, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const long = 500 * time.Millisecond
	begun := time.Now()
	s.Set(S15Down, long)
	if _, _, _, err := ask(t, s, V2, 1); err == nil && time.Since(begun) < long {
		t.Error("a model that is down answered")
	}
	if !eventually(func() bool { return s.State().Up }) {
		t.Fatal("the model did not come back")
	}
	if status, _, _, err := ask(t, s, V2, 1); err != nil || status != http.StatusOK {
		t.Errorf("after it: %d, %v", status, err)
	}
	if s.Count(S15Down) != 1 {
		t.Errorf("counted %d times, want 1", s.Count(S15Down))
	}
}
