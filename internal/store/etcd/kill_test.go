package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// killsVariable says how often TestKillsLoseNothing kills; 20 without it.
const killsVariable = "SAFESTATE_STORE_KILLS"

const (
	stateKey = "/kill/state"   // how many records there are
	records  = "/kill/record/" // and each, by its number
)

// writerChild writes as releases are written: the state first, by
// compare-and-swap, then the record of the change, which is made up for at the
// start where it was cut off. It says each number once it is durable.
func writerChild(arguments []string) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: arguments[0], CallTimeout: hang}) // the machine may be busy
	if err != nil {
		return err
	}
	state, err := s.Get(ctx, stateKey)
	if errors.Is(err, store.ErrNotFound) {
		state, err = s.Put(ctx, stateKey, []byte("0"), 0)
	}
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(string(state.Value))
	if err != nil {
		return err
	}
	if count > 0 {
		if err := writeRecord(ctx, s, count); err != nil {
			return err
		}
	}
	if err := checkRecords(ctx, s, count); err != nil {
		return err
	}
	fmt.Println("found", count)
	for {
		count++
		if state, err = s.Put(ctx, stateKey, []byte(strconv.Itoa(count)), state.Revision); err != nil {
			return err
		}
		if err := writeRecord(ctx, s, count); err != nil {
			return err
		}
		fmt.Println("wrote", count)
	}
}

// writeRecord creates a record unless it is there already.
func writeRecord(ctx context.Context, s *Store, number int) error {
	_, err := s.Put(ctx, fmt.Sprintf("%s%016d", records, number), content(number), 0)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// content is of any length up to 4 KiB, so that kills meet pages of all kinds.
func content(number int) []byte {
	random := rand.New(rand.NewPCG(uint64(number), 0))
	return bytes.Repeat([]byte(strconv.Itoa(number)+" "), 1+random.IntN(500))
}

// checkRecords holds the records against their count.
func checkRecords(ctx context.Context, s *Store, count int) error {
	entries, err := s.List(ctx, records)
	if err != nil {
		return err
	}
	if len(entries) != count {
		return fmt.Errorf("%d records, the state says %d", len(entries), count)
	}
	for i, e := range entries {
		if e.Key != fmt.Sprintf("%s%016d", records, i+1) || !bytes.Equal(e.Value, content(i+1)) {
			return fmt.Errorf("record %d is %s with %.20q", i+1, e.Key, e.Value)
		}
	}
	return nil
}

// TestKillsLoseNothing kills a writer again and again. What it said is there,
// once, without a gap, and at most the one write that it was at is there too.
func TestKillsLoseNothing(t *testing.T) {
	kills := 20
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", killsVariable, err)
		}
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	said := 0
	for kill := range kills {
		c := startChild(t, "writer", dir)
		wait := time.Duration(random.IntN(120)) * time.Millisecond
		if kill%4 != 0 { // else it may be killed while it starts
			said = checkFound(t, c.say(t, "found"), said)
		}
		timer := time.NewTimer(wait)
		<-timer.C
		c.kill()
		for line := range c.lines {
			word, number, _ := strings.Cut(line, " ")
			switch word {
			case "found":
				said = checkFound(t, number, said)
			case "wrote":
				if n, err := strconv.Atoi(number); err != nil || n != said+1 {
					t.Fatalf("kill %d: said %s after %d", kill, number, said)
				}
				said++
			default:
				t.Fatalf("kill %d: %s", kill, line)
			}
		}
	}
	last := startChild(t, "writer", dir)
	said = checkFound(t, last.say(t, "found"), said)
	t.Logf("%d kills, %d records", kills, said)
	if said < kills {
		t.Errorf("only %d records: the kills met nothing", said)
	}
}

// TestKilledInItsFirstMoments kills new stores while they are made.
func TestKilledInItsFirstMoments(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		dir := t.TempDir()
		c := startChild(t, "writer", dir)
		timer := time.NewTimer(5*time.Millisecond + time.Duration(random.IntN(100))*time.Millisecond)
		<-timer.C
		c.kill()
		said := 0
		for line := range c.lines {
			if strings.HasPrefix(line, "wrote") {
				said++
			}
		}
		c = startChild(t, "writer", dir)
		checkFound(t, c.say(t, "found"), said)
		c.kill()
	}
}

// checkFound holds what a restarted writer finds against what was said, and
// returns it.
func checkFound(t *testing.T, text string, said int) int {
	t.Helper()
	found, err := strconv.Atoi(text)
	if err != nil || found < said || found > said+1 {
		t.Fatalf("found %s records of %d", text, said)
	}
	return found
}
