package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// demo releases fraud v2 by steps under load, breaks it, and prints what became
// of it: the whole loop, and nobody's hand in it.
func (s *stage) demo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoWithin)
	defer cancel()
	l := newLoad(local(s.o.traffic))
	loading, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { l.run(loading) })
	defer running.Wait()
	defer end()

	fmt.Printf("\n%d requests a second to fraud, all of them answered by v1.\n\n", perSecond)
	if err := s.until(ctx, "v1 was judged", func(m *admin.Model) bool { return requests(m, "v1") > 2*perSecond }); err != nil {
		return err
	}
	err := s.command(ctx, "rollout", "start", "fraud", "v2", "--reason", "new features",
		"--step", "10,2s,50", "--step", "50,2s,200", "--step", "100,2s,200")
	if err != nil {
		return err
	}
	if err := s.until(ctx, "v2 has the traffic", func(m *admin.Model) bool { return m.Phase == "promoted" }); err != nil {
		return err
	}
	if err := s.command(ctx, "status"); err != nil {
		return err
	}
	l.reset()
	fmt.Print("\nFrom now on every answer of v2 is NaN. Nobody does anything.\n\n")
	broken := time.Now()
	if err := s.breakV2(ctx); err != nil {
		return err
	}
	if err := s.until(ctx, withdrawn, func(m *admin.Model) bool { return m.Withdrawal != nil && !m.Withdrawal.Done.IsZero() }); err != nil {
		return err
	}
	if err := s.timeline(ctx, broken, l); err != nil {
		return err
	}
	if err := s.command(ctx, "history", "fraud"); err != nil {
		return err
	}
	return s.killed(ctx, l)
}

// withdrawn is what the demo waits for last.
const withdrawn = "v2 is out of traffic"

// demoWithin bounds the demo, on a machine that is busy.
const demoWithin = 5 * time.Minute

// requests are the answers of a version that were judged.
func requests(m *admin.Model, version string) uint64 {
	for i := range m.Versions {
		if v := &m.Versions[i]; v.Name == version && v.Evidence != nil {
			return v.Evidence.Requests
		}
	}
	return 0
}

// model asks safestate about fraud.
func (s *stage) model(ctx context.Context) (*admin.Model, error) {
	c, err := admin.NewClient("http://"+local(s.o.http), admin.ClientOptions{})
	if err != nil {
		return nil, err
	}
	a, err := c.Model(ctx, "default/fraud")
	return &a.Value, err
}

// until waits for the model to be as it should.
func (s *stage) until(ctx context.Context, what string, holds func(*admin.Model) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := s.model(ctx)
		if err == nil && holds(m) {
			return nil
		}
		if err == nil && m.Withdrawal != nil && m.Phase != "rollout" && what != withdrawn {
			return fmt.Errorf("v2 was taken back before it was broken, on a machine that is too busy: %s", m.Withdrawal.Reason)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("it did not come to it in %s that %s; see `safestate status` and %s", demoWithin, what, s.o.logs)
			}
			return ctx.Err()
		case p := <-s.ended:
			return p.obituary()
		case <-tick.C:
		}
	}
}

// command runs what a person would type, and shows both.
func (s *stage) command(_ context.Context, args ...string) error {
	fmt.Println("$ safestate " + strings.Join(quoted(args), " "))
	text, err := output(filepath.Join(s.o.bin, "safestate"), append(args, "--server", "http://"+local(s.o.http))...)
	fmt.Println(strings.TrimRight(string(text), "\n"))
	fmt.Println()
	return err
}

func quoted(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsRune(a, ' ') {
			out[i] = `"` + a + `"`
		}
	}
	return out
}

func (s *stage) breakV2(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+local(s.o.control+1)+"/fault", strings.NewReader(`{"fault": "nan-bare"}`))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the model's control answers %s", resp.Status)
	}
	return nil
}

// timeline prints what happened when, counted from the first bad answer.
func (s *stage) timeline(ctx context.Context, broken time.Time, l *load) error {
	m, err := s.model(ctx)
	if err != nil {
		return err
	}
	w, seen := m.Withdrawal, l.tally()
	at := func(t time.Time) string {
		return fmt.Sprintf("%+8.1f ms", float64(t.Sub(w.FirstBad))/float64(time.Millisecond))
	}
	fmt.Printf("%s  v2 is broken\n", at(broken))
	fmt.Printf("%s  first bad answer\n", at(w.FirstBad))
	fmt.Printf("%s  rollback decided: %s\n", at(w.Decided), w.Reason)
	fmt.Printf("%s  pushed\n", at(w.Pushed))
	fmt.Printf("%s  ACKed by the proxy\n", at(w.Acked))
	if !m.Proof.BadSeen.IsZero() {
		fmt.Printf("%s  last request at v2\n", at(m.Proof.BadSeen))
	}
	fmt.Printf("%s  proven: no request since\n\n", at(w.Done))
	fmt.Printf("Callers' bad answers since then: %d of %d.%s\n\n", seen.bad, seen.asked, sourcesOf(&seen))
	if s.o.timeline != "" {
		ms := func(t time.Time) float64 { return float64(t.Sub(w.FirstBad)) / float64(time.Millisecond) }
		text, err := json.Marshal(map[string]any{
			"decided_ms": ms(w.Decided), "acked_ms": ms(w.Acked), "callers_bad_answers": seen.bad, "callers_answers": seen.asked,
		})
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.o.timeline, text, 0o600); err != nil {
			return err
		}
	}
	if seen.bad > 0 {
		return fmt.Errorf("%d callers got a bad answer", seen.bad)
	}
	return nil
}

// sourcesOf says what answered, " primary: 12."
func sourcesOf(seen *tally) string {
	text := ""
	for _, source := range []string{"primary", "cache", "fallback", "rules", "safe_default", "none"} {
		if n := seen.sources[source]; n > 0 {
			text += fmt.Sprintf(" %s: %d.", source, n)
		}
	}
	return text
}
