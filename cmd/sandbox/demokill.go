package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// killed stops the model under load, and gives it back by a ramp.
func (s *stage) killed(ctx context.Context, l *load) error {
	fmt.Print("\nNow a person stops the model, under the same load.\n\n")
	if err := s.command(ctx, "kill", "fraud", "--reason", "it leaks names", "--wait", "10s"); err != nil {
		return err
	}
	l.reset() // what was asked before may be on its way still: the proof says that nothing follows
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	seen := l.tally()
	fmt.Printf("In the two seconds after that: %d requests, %d of them answered by the model.%s\n\n", seen.asked, seen.sources["primary"], sourcesOf(&seen))
	if n := seen.sources["primary"]; n > 0 {
		return fmt.Errorf("the killed model has answered %d requests", n)
	}
	c, err := admin.NewClient("http://"+local(s.o.http), admin.ClientOptions{})
	if err != nil {
		return err
	}
	list, err := c.Kills(ctx)
	if err != nil {
		return err
	}
	if len(list.Value.Kills) == 0 {
		return errors.New("nothing is killed")
	}
	generation := strconv.FormatUint(list.Value.Kills[0].Generation, 10)
	if err := s.command(ctx, "revive", "fraud", "--generation", generation, "--reason", "the leak is closed", "--ramp", "6s"); err != nil {
		return err
	}
	l.reset()
	for range 4 {
		if err := rest(ctx, 2*time.Second); err != nil {
			return err
		}
		seen := l.tally()
		l.reset()
		fmt.Printf("two seconds later: %3d %% of the answers are the model's\n", 100*seen.sources["primary"]/max(seen.asked, 1))
	}
	fmt.Println()
	if err := s.command(ctx, "audit", "list", "--kind", "kill,revive", "--limit", "2"); err != nil {
		return err
	}
	fmt.Println("$ safestate audit verify DATA/audit")
	text, err := output(filepath.Join(s.o.bin, "safestate"), "audit", "verify", filepath.Join(s.data, "audit"))
	fmt.Println(string(text))
	return err
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
