package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// figures are what a series showed. Times are in ms.
type figures struct {
	changes            int
	lastP50, lastP99   float64 // over changes: until the last client's acceptance
	eachP50, eachP99   float64 // over the acceptances of all changes
	seenP50            float64 // as lastP50, by the clients' own clock
	renderP50          float64 // for rendering, where it is a part
	setP50             float64 // until the server's own call came back
	cpu                float64 // of the server, per change
	perRound, cpuRound []float64
	rss                float64 // MiB
}

func (s *series) figures() figures {
	var f figures
	var last, each, set, render, seen []float64
	var cpu float64
	for _, b := range s.blocks {
		var inRound []float64
		for _, acks := range b.Acks {
			for _, us := range acks {
				each = append(each, float64(us)/1000)
			}
			inRound = append(inRound, float64(slices.Max(acks))/1000)
		}
		for _, us := range b.Set {
			set = append(set, float64(us)/1000)
		}
		for _, us := range b.Render {
			render = append(render, float64(us)/1000)
		}
		last = append(last, inRound...)
		f.perRound = append(f.perRound, rank(inRound, 50))
		f.cpuRound = append(f.cpuRound, float64(b.CPU)/1000/float64(len(b.Acks)))
		cpu += float64(b.CPU) / 1000
		f.rss = float64(b.RSS) / (1 << 20)
	}
	for _, d := range s.seen {
		seen = append(seen, float64(d.Microseconds())/1000)
	}
	f.changes = len(last)
	f.lastP50, f.lastP99 = rank(last, 50), rank(last, 99)
	f.eachP50, f.eachP99 = rank(each, 50), rank(each, 99)
	f.seenP50, f.setP50, f.renderP50 = rank(seen, 50), rank(set, 50), rank(render, 50)
	f.cpu = cpu / float64(max(f.changes, 1))
	return f
}

// rank is a percentile by the nearest rank above: of 60 values the 99th is the
// largest.
func rank(values []float64, percent int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// show prints every subject's figures.
func show(all []*series, r run) {
	over := ""
	if r.tls {
		over = " over TLS"
	}
	fmt.Printf("\n%d clients%s, %d models with a policy each, %d %s each; ms\n",
		r.clients, over, r.models, all[0].figures().changes, r.change.title)
	fmt.Printf("%-13s %9s %9s | %9s %9s | %9s %9s %9s %9s %9s %7s\n",
		"", "last ACK", "", "each ACK", "", "render", "set", "clients'", "server's", "clients'", "RSS")
	fmt.Printf("%-13s %9s %9s | %9s %9s | %9s %9s %9s %9s %9s %7s\n",
		"", "p50", "p99", "p50", "p99", "", "returns", "last p50", "CPU/"+r.change.name, "CPU/"+r.change.name, "MiB")
	for _, s := range all {
		f := s.figures()
		fmt.Printf("%-13s %9.1f %9.1f | %9.1f %9.1f | %9.1f %9.1f %9.1f %9.1f %9.1f %7.0f\n",
			s.subject.name, f.lastP50, f.lastP99, f.eachP50, f.eachP99, f.renderP50, f.setP50, f.seenP50, f.cpu, rank(s.work, 50), f.rss)
	}
	for _, s := range all {
		fmt.Printf("%-13s %s\n", s.subject.name, s.subject.what)
		if s.asked > 0 {
			fmt.Printf("%-13s and %d real Envoys, whose ACKs count too; their traffic followed, %d requests%s\n", "", len(s.envoys), s.asked, furthest(s.shares))
		}
	}
}

func furthest(shares []share) string {
	if len(shares) == 0 {
		return ""
	}
	worst := slices.MaxFunc(shares, func(a, b share) int { return cmp.Compare(abs(a.got-a.want), abs(b.got-b.want)) })
	return fmt.Sprintf(": %d shares, the furthest %.3f of %.3f", len(shares), worst.got, worst.want)
}

func abs(f float64) float64 { return max(f, -f) }

// ratios are what is kept of a change: nil where ours or plain was not measured.
func ratios(c *change, all []*series) (map[string]float64, error) {
	byName := map[string]figures{}
	for _, s := range all {
		byName[s.subject.name] = s.figures()
	}
	a, ok := byName[ours]
	p, also := byName[plain]
	if !ok || !also {
		return nil, nil
	}
	if len(a.perRound) != len(p.perRound) {
		return nil, errors.New("not as many rounds of one as of the other")
	}
	return map[string]float64{
		c.name + "_1000_p99_ms":        a.lastP99,
		c.name + "_over_plain_gcp_p50": quotient(a.perRound, p.perRound),
		c.name + "_over_plain_gcp_cpu": quotient(a.cpuRound, p.cpuRound),
	}, nil
}

// quotient is the median of a/b round by round: neighbours in time, so that a
// slow minute of the machine slows both.
func quotient(a, b []float64) float64 {
	values := make([]float64, len(a))
	for i := range a {
		values[i] = a[i] / b[i]
	}
	return rank(values, 50)
}

// merge adds to the ratios that are there, and prints its own.
func merge(folder string, found map[string]float64) error {
	file := filepath.Join(folder, "ratios.json")
	all := map[string]float64{}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &all); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	fmt.Println()
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Printf("%-36s %8.3f\n", name, found[name])
	}
	maps.Copy(all, found)
	if text, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
