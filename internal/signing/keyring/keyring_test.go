package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/store/storetest"
	"github.com/safestate/safestate/internal/telemetry"
)

var fraud = signing.Subject{Route: "default/fraud/score", Namespace: "default", Policy: "{}"}

// replica is a process with a keyring and a host, whose proxies have what it
// publishes at once, unless they are held.
type replica struct {
	*Keyring
	client *storetest.Client
	keys   *signing.Keys
	stop   func()

	mu        sync.Mutex
	published Published
	held      string // a proxy that takes nothing new
}

func start(t *testing.T, m *storetest.Memory, name, dir string, change ...func(*Options)) *replica {
	t.Helper()
	r := &replica{client: m.Open(), keys: &signing.Keys{}}
	o := Options{
		Store: r.client, Replica: name, DataDir: dir, Log: telemetry.NopLog(),
		Trust: func(keys ...signing.Public) { r.keys.Set("store", keys...) },
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if r.Keyring, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, Hooks{Changed: r.publish, Published: func() Published {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.published
		}})
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(r.stop)
	return r
}

func (r *replica) publish() {
	id := r.Signer().KeyID()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published.KeyID = id
	if r.published.Lacking = nil; r.held != "" {
		r.published.Lacking = []string{r.held}
	}
}

func (r *replica) hold(proxy string) {
	r.mu.Lock()
	r.held = proxy
	r.mu.Unlock()
	r.publish()
}

// agree checks that every host takes what every replica signs now.
func agree(t *testing.T, when string, all ...*replica) {
	t.Helper()
	for _, by := range all {
		signature := by.Signer().Sign(fraud.Route, fraud.Namespace, fraud.Policy)
		for _, at := range all {
			if err := at.keys.Current().Verify(fraud, signature); err != nil {
				t.Errorf("%s: what replica %s signs is refused at %s: %v", when, by.o.Replica, at.o.Replica, err)
			}
		}
	}
}

func stateOf(r *replica) string {
	s := r.State()
	var out []string
	for _, k := range []*signing.Key{s.Ring.Previous, &s.Ring.Current, s.Ring.Next} {
		if k == nil {
			out = append(out, "-")
			continue
		}
		out = append(out, k.Public().ID[:4])
	}
	return strings.Join(out, " ")
}

func TestReplicasThatStartAtOnceAgreeOnOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(time.Second)
		all := make([]*replica, 5)
		var starting sync.WaitGroup
		for i := range all {
			starting.Go(func() { all[i] = start(t, m, string(rune('a'+i)), "") })
		}
		starting.Wait()
		agree(t, "at the start", all...)
		for _, r := range all {
			if stateOf(r) != stateOf(all[0]) {
				t.Errorf("%s and %s", stateOf(r), stateOf(all[0]))
			}
		}
	})
}

// At no moment of a rotation is anything refused that any replica signs, or that a
// proxy may still have.
func TestARotationRefusesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(time.Second)
		a, b, c := start(t, m, "a", ""), start(t, m, "b", ""), start(t, m, "c", "")
		old := a.Signer()
		c.hold("proxy 7: silent for 3m")
		if _, err := b.Rotate(t.Context(), signing.Rotation{By: "ann", Reason: "yearly"}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var promoted bool
		for time.Since(began) < 2*signing.DefaultOverlap {
			pause := 20 * time.Second // of the bubble's clock
			if time.Since(began) < signing.DefaultSettle+5*time.Second {
				pause = 100 * time.Millisecond
			}
			time.Sleep(pause)
			agree(t, time.Since(began).String(), a, b, c)
			promoted = promoted || a.Signer().KeyID() != old.KeyID()
			if err := c.keys.Current().Verify(fraud, old.Sign(fraud.Route, fraud.Namespace, fraud.Policy)); err != nil {
				t.Fatalf("after %s what proxy 7 still has is refused: %v", time.Since(began), err)
			}
		}
		if w := b.State().Waiting; !promoted || !strings.Contains(w, "proxy 7: silent for 3m") {
			t.Errorf("the new key signs: %v; it waits for %q", promoted, w)
		}
		c.hold("")
		time.Sleep(5 * time.Second)
		if s := stateOf(a); !strings.HasPrefix(s, "- ") || !strings.HasSuffix(s, " -") || a.State().Waiting != "" {
			t.Errorf("it is not over: %s, %s", s, a.State().Waiting)
		}
		if err := b.keys.Current().Verify(fraud, old.Sign(fraud.Route, fraud.Namespace, fraud.Policy)); err == nil {
			t.Error("the old key is still trusted")
		}
	})
}

// A host that lacks the new key holds the rotation up, whether it is a replica
// that cannot reach the store or one elsewhere that says nothing.
func TestTheNewKeyWaitsForEveryHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(time.Second)
		var mu sync.Mutex
		lacking := []string{"host x: has not taken it"}
		hosts := func(string) []string {
			mu.Lock()
			defer mu.Unlock()
			return lacking
		}
		a, b := start(t, m, "a", "", func(o *Options) { o.Hosts = hosts }), start(t, m, "b", "", func(o *Options) { o.Hosts = hosts })
		time.Sleep(time.Second)
		b.client.Cut(true)
		old := a.Signer().KeyID()
		if _, err := a.Rotate(t.Context(), signing.Rotation{By: "ann", Reason: "yearly"}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Rotate(t.Context(), signing.Rotation{}); !errors.Is(err, signing.ErrUnderWay) {
			t.Errorf("a second one begins: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if w := a.State().Waiting; a.Signer().KeyID() != old || !strings.Contains(w, "replica b (gone since") || !strings.Contains(w, "host x") {
			t.Errorf("it waits for %q", w)
		}
		agree(t, "while one is cut off", a, b)
		b.client.Cut(false)
		time.Sleep(time.Minute)
		if w := a.State().Waiting; a.Signer().KeyID() != old || strings.Contains(w, "replica b") {
			t.Errorf("it waits for %q", w)
		}
		mu.Lock()
		lacking = nil
		mu.Unlock()
		time.Sleep(5 * time.Second)
		if a.Signer().KeyID() == old {
			t.Errorf("nobody lacks it, and it waits for %q", a.State().Waiting)
		}
		agree(t, "after it", a, b)
	})
}

func TestForceTakesTheNextStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, storetest.NewMemory(time.Second), "a", "", func(o *Options) {
			o.Hosts = func(string) []string { return []string{"host x"} }
		})
		old := a.Signer().KeyID()
		for i, want := range []func(signing.Ring) bool{
			func(r signing.Ring) bool { return r.Next != nil },
			func(r signing.Ring) bool { return r.Previous != nil && r.Next == nil },
			func(r signing.Ring) bool { return r.Previous == nil && r.Next == nil },
		} {
			s, err := a.Rotate(t.Context(), signing.Rotation{By: "ann", Reason: "it leaked", Force: true})
			if err != nil || !want(s.Ring) {
				t.Fatalf("step %d: %v, %s", i, err, stateOf(a))
			}
		}
		if a.Signer().KeyID() == old || len(a.keys.Current().IDs()) != 1 {
			t.Errorf("%s", stateOf(a))
		}
	})
}

func TestAKeyIsRotatedByItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, storetest.NewMemory(time.Minute), "a", "", func(o *Options) { o.Age = time.Hour })
		seen := map[string]bool{}
		for range 3*60 + 30 {
			time.Sleep(time.Minute)
			seen[a.Signer().KeyID()] = true
			if age, rotation := a.Ages(time.Now()); age > 62*time.Minute || rotation > 15*time.Minute {
				t.Errorf("the key is %s old, a rotation takes %s", age, rotation)
			}
		}
		if len(seen) != 4 {
			t.Errorf("%d keys in three and a half hours", len(seen))
		}
	})
}

// A store that was set back, or lost, gets the newest keys from a replica's disk:
// an old ring would have policies refused that proxies have.
func TestAStoreThatWasSetBackIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, m := t.TempDir(), storetest.NewMemory(time.Second)
		a := start(t, m, "a", dir)
		before, err := a.client.Get(t.Context(), Key)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := a.Rotate(t.Context(), signing.Rotation{Force: true}); err != nil {
				t.Fatal(err)
			}
		}
		id := a.Signer().KeyID()
		set := func(value []byte) {
			t.Helper()
			e, err := a.client.Get(t.Context(), Key)
			if err == nil && value == nil {
				err = a.client.Delete(t.Context(), Key, e.Revision)
			} else if err == nil {
				_, err = a.client.Put(t.Context(), Key, value, e.Revision)
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for name, value := range map[string][]byte{"set back": before.Value, "gone": nil} {
			set(value)
			e, err := a.client.Get(t.Context(), Key)
			if err != nil || bytes.Equal(e.Value, before.Value) || a.Signer().KeyID() != id {
				t.Errorf("%s: %v, %s", name, err, e.Value)
			}
		}
		set([]byte("{}"))
		if a.Signer().KeyID() != id {
			t.Error("what cannot be read is gone by")
		}
		a.stop()

		again := start(t, storetest.NewMemory(time.Second), "a", dir) // another store, empty
		if again.Signer().KeyID() != id {
			t.Error("after a restart without the store's content another key signs")
		}
	})
}

func TestTheStoreIsAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, m := t.TempDir(), storetest.NewMemory(time.Second)
		first := start(t, m, "a", dir)
		id := first.Signer().KeyID()
		first.stop()
		away := m.Open()
		away.Cut(true)
		o := Options{Store: away, Replica: "b", Trust: func(...signing.Public) {}, Log: telemetry.NopLog()}
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not known") {
			t.Errorf("without a copy: %v", err)
		}
		o.DataDir = dir
		k, err := Open(t.Context(), o)
		if err != nil || k.Signer().KeyID() != id {
			t.Fatalf("with a copy: %v", err)
		}
		if info, err := os.Stat(filepath.Join(dir, File)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the copy: %v, %v", info.Mode(), err)
		}
		if err := os.WriteFile(filepath.Join(dir, File), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("with a copy that is none: %v", err)
		}
	})
}

// notes is a trail, by the IDs of what it was told.
type notes struct {
	mu   sync.Mutex
	all  []signing.Record
	fail bool
}

func (n *notes) take(_ context.Context, r signing.Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail {
		return errors.New("the disk is full")
	}
	for _, old := range n.all {
		if old.Sequence == r.Sequence {
			return nil
		}
	}
	n.all = append(n.all, r)
	return nil
}

func (n *notes) set(fail bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = fail
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, r := range n.all {
		out = append(out, fmt.Sprintf("%d %s by %s", r.Sequence, r.Step, strings.TrimSpace(r.By+" "+r.How+" "+r.Address)))
	}
	return strings.Join(out, ", ")
}

// Each step of a rotation is in the trail of the replica that took it, once.
func TestRotationsAreNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, m, trail, other := t.TempDir(), storetest.NewMemory(time.Second), &notes{}, &notes{}
		noted := func(n *notes) func(*Options) { return func(o *Options) { o.Noted = n.take } }
		a := start(t, m, "a", dir, noted(trail))
		start(t, m, "b", t.TempDir(), noted(other))
		time.Sleep(2 * time.Second)
		ann := signing.Rotation{By: "ann", How: "token", Address: "10.0.0.1", Reason: "yearly", Force: true}
		if _, err := a.Rotate(t.Context(), ann); err != nil {
			t.Fatal(err)
		}
		if got, want := trail.String(), "1 made by safestate, 2 made by ann token 10.0.0.1"; got != want {
			t.Errorf("before the answer the trail has %q, want %q", got, want)
		}
		trail.set(true)
		if s, err := a.Rotate(t.Context(), ann); err == nil || !strings.Contains(err.Error(), "audit trail") || s.Ring.Previous == nil {
			t.Errorf("a trail that takes nothing: %v, %s", err, stateOf(a))
		}
		a.stop() // what is not in the trail is told by who goes on
		trail.set(false)
		start(t, m, "a", dir, noted(trail))
		time.Sleep(2 * time.Second)
		if got, want := trail.String(), "1 made by safestate, 2 made by ann token 10.0.0.1, 3 signs by ann token 10.0.0.1"; got != want {
			t.Errorf("after a restart the trail has %q, want %q", got, want)
		}
		time.Sleep(time.Hour)
		if got := trail.String() + ", " + other.String(); strings.Count(got, "4 dropped by safestate") != 1 {
			t.Errorf("the last step is once in %q", got)
		}
	})
}
