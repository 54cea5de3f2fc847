package main

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// The bounds in whole requests, as they are published.
func TestBound(t *testing.T) {
	for i, want := range []float64{2, 11, 62, 655, 7100} {
		if got := bound(effects[i]); math.Abs(got-want) > 1+0.001*want {
			t.Errorf("%g bad: %g, want %g", effects[i], got, want)
		}
	}
}

func TestNewVersionsAreFoundNearTheBound(t *testing.T) {
	w := &workers{seed: 3}
	c := &curve{RPS: 500, Rate: baseline, Runs: 60}
	for _, effect := range []float64{1, 0.2, 0.05, 0.01} {
		for _, share := range []float64{0.1, 0.99} {
			c.Cells = append(c.Cells, measure(w, c, effect, share, 0))
		}
	}
	if c.worst() > 2 {
		t.Errorf("%+v", c.Cells)
	}
}

func TestHealthyVersionsStay(t *testing.T) {
	if h := healthyDays(&workers{seed: 4}, 20); h.Rollbacks > 0 {
		t.Errorf("%d of %g healthy days: %s", h.Rollbacks, h.Days, h.Stories)
	}
}

func TestIncidents(t *testing.T) {
	c := playAll(&workers{seed: 5}, 3)
	if c.Precision < 0.95 || c.Recall < 0.95 {
		t.Errorf("precision %g, recall %g: %+v", c.Precision, c.Recall, c.Results)
	}
}

func TestAHoldbackIsEnoughForTotalFailure(t *testing.T) {
	for _, breaker := range []bool{false, true} {
		if s := stops(&workers{seed: 6}, 100, breaker); s.Second < 0.85 {
			t.Errorf("%+v", s)
		}
	}
}

func TestSameSeedSameFigures(t *testing.T) {
	a, b := playAll(&workers{seed: 9}, 1), playAll(&workers{seed: 9}, 1)
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Errorf("%s\nand %s", x, y)
	}
}

func TestDraws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		n int
		p float64
	}{{50, 0.02}, {3000, 0.001}, {400, 0.4}, {90, 0.97}, {100000, 0.01}} {
		const times = 4000
		var sum, squares float64
		for range times {
			x := float64(binomial(r, c.n, c.p))
			sum += x
			squares += x * x
		}
		mean, variance := float64(c.n)*c.p, float64(c.n)*c.p*(1-c.p)
		if got := sum / times; math.Abs(got-mean) > 5*math.Sqrt(variance/times) {
			t.Errorf("%+v: mean %g, want %g", c, got, mean)
		}
		if got := squares/times - sum*sum/times/times; math.Abs(got/variance-1) > 0.15 {
			t.Errorf("%+v: variance %g, want %g", c, got, variance)
		}
	}
	if got := upper(0); math.Abs(got-2.996) > 0.001 {
		t.Errorf("none seen: %g at most, want 3", got)
	}
}

func TestPublishKeepsWhatIsThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ratios.json")
	if err := os.WriteFile(file, []byte(`{"other": 1.5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := publish(file, 1.25); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file)
	got := map[string]float64{}
	if err := json.Unmarshal(text, &got); err != nil || got["other"] != 1.5 || got[key] != 1.25 {
		t.Errorf("%s", text)
	}
}
