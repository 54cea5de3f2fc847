package storetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

func TestMemoryConforms(t *testing.T) {
	const lease = 3 * time.Second // machines are busy, and who stands still leads for too long
	m := storetest.NewMemory(lease)
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) store.Store {
			c := m.Open()
			t.Cleanup(func() { _ = c.Close() })
			return c
		},
		Forget: func(*testing.T) {}, // it keeps no history
		Outage: func(_ *testing.T, client store.Store, during func()) {
			c := client.(*storetest.Client)
			c.Cut(true)
			during()
			c.Cut(false)
		},
		Lease: lease,
	})
}

// TestMemoryLeaderThatIsCutOff: it stops leading before the next one starts.
func TestMemoryLeaderThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(3 * time.Second)
		first, second := m.Open(), m.Open()
		told := make(chan string, 10)
		ctx, cancel := context.WithCancel(t.Context())
		stand := func(c *storetest.Client, name string) {
			c.Elect(ctx, "/leader", name, func(ctx context.Context) {
				told <- name + " leads"
				<-ctx.Done()
				told <- name + " stops"
			})
		}
		go stand(first, "first")
		synctest.Wait()
		go stand(second, "second")
		synctest.Wait()
		first.Cut(true)
		if _, err := first.Get(ctx, "/a"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("cut off: %v", err)
		}
		for _, want := range []string{"first leads", "first stops", "second leads"} {
			if got := <-told; got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
		first.Cut(false)
		if got, err := first.Leader(ctx, "/leader"); got != "second" || err != nil {
			t.Errorf("leader %q, %v", got, err)
		}
		cancel()
		synctest.Wait()
	})
}
