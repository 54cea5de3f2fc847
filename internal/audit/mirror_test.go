package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// replica is a log with its own way to a store.
type replica struct {
	*Log
	client *storetest.Client
	said   *warnings
}

func newReplica(t *testing.T, m *storetest.Memory, name, dir string, change func(*Options)) *replica {
	t.Helper()
	r := &replica{client: m.Open(), said: &warnings{}}
	o := Options{Dir: dir, Name: name, Store: r.client, Warn: r.said.add}
	if change != nil {
		change(&o)
	}
	r.Log = open(t, o)
	t.Cleanup(func() { _ = r.client.Close() })
	return r
}

// joins are the entries of a log that join another, as "SEQUENCE why".
func (r *replica) joins(t *testing.T, with *replica) (out []string) {
	t.Helper()
	for _, e := range entriesIn(t, linesOf(t, r.Log)) {
		var w Witness
		if e.Kind != KindJoin || e.Target != with.Status().Writer {
			continue
		}
		if err := json.Unmarshal(e.Evidence, &w); err != nil || w.check() != nil || w.Head.Writer != e.Target {
			t.Errorf("a join without a head: %s", e.Line())
		}
		out = append(out, fmt.Sprint(w.Head.Sequence, " ", e.Reason))
	}
	return out
}

func (r *replica) wantJoins(t *testing.T, with *replica, want ...string) {
	t.Helper()
	if got := r.joins(t, with); strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("%s has joined %s at %q, want %q", r.Status().Writer, with.Status().Writer, got, want)
	}
}

// settle lets time pass, and everything happen that is due.
func settle(d time.Duration) {
	time.Sleep(d) // of synctest's clock
	synctest.Wait()
}

func stored(t *testing.T, s store.Store, prefix string) []store.Entry {
	t.Helper()
	entries, err := s.List(context.Background(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestReplicasJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		a := newReplica(t, m, "a", t.TempDir(), nil)
		settle(time.Second)
		add(t, a.Log, "a", 1, 3)
		settle(time.Second)
		b := newReplica(t, m, "b", t.TempDir(), nil)
		settle(2 * time.Second)
		b.wantJoins(t, a, "4 seen for the first time")
		if j := a.joins(t, b); len(j) != 1 || !strings.HasSuffix(j[0], " seen for the first time") {
			t.Errorf("a has joined b at %q", j)
		}

		settle(time.Hour) // nothing happens but that they see each other
		b.wantJoins(t, a, "4 seen for the first time")

		for i := range 20 { // one every ten minutes, however much happens
			add(t, a.Log, "more", i*10, i*10+9)
			settle(time.Minute)
		}
		if n := len(b.joins(t, a)); n < 3 || n > 4 {
			t.Errorf("%q in 20 minutes", b.joins(t, a))
		}
		settle(time.Hour)
		before, last := len(b.joins(t, a)), a.Status().Sequence

		a.client.Cut(true) // an outage: both go on, apart
		add(t, a.Log, "apart", 1, 5)
		add(t, b.Log, "apart", 1, 5)
		settle(2 * time.Minute)
		if s := a.Status(); s.Stored > last || s.StoreError == "" || !strings.Contains(a.said.String(), "not in the store for now") {
			t.Errorf("cut off: %+v\n%s", s, a.said)
		}
		a.client.Cut(false)
		settle(30 * time.Second)
		joins := b.joins(t, a)
		if len(joins) != before+1 || !strings.HasSuffix(joins[before], "after it was away") {
			t.Errorf("b, after the outage: %q", joins[before:])
		}
		if j := a.joins(t, b); !strings.HasSuffix(j[len(j)-1], "after an outage") {
			t.Errorf("a, after the outage: %q", j)
		}
		if s := a.Status(); s.Stored != s.Sequence || s.StoreError != "" || s.Peers != 1 {
			t.Errorf("%+v", s)
		}
		for _, r := range []*replica{a, b} {
			lines := linesOf(t, r.Log)
			entries := stored(t, b.client, entriesOf(r.Status().Writer))
			if len(entries) != len(lines) {
				t.Fatalf("%d entries in the store, %d in the file", len(entries), len(lines))
			}
			for i, e := range entries {
				if e.Key != entryKey(r.Status().Writer, uint64(i+1)) || !bytes.Equal(e.Value, lines[i]) {
					t.Fatalf("%s: %s", e.Key, e.Value)
				}
			}
		}
		report, err := Verify(VerifyOptions{}, Folder(a.o.Dir), Folder(b.o.Dir))
		if err != nil || !report.OK() || report.Chains[0].Witnessed == 0 {
			t.Errorf("%v\n%s", err, report.Text())
		}
	})
}

// TestStoreKeepsTheNewest has a store that keeps 50 entries: the file keeps all.
func TestStoreKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		dir := t.TempDir()
		keep := func(o *Options) { o.Keep = 50 }
		a := newReplica(t, m, "a", dir, keep)
		check := func(last uint64, most int) { // the oldest are removed once in a hundred
			t.Helper()
			settle(30 * time.Second)
			entries := stored(t, a.client, entriesPrefix)
			if n := len(entries); n < 50 || n > most || entries[n-1].Key != entryKey(a.Status().Writer, last) {
				t.Errorf("%d entries from %s to %s, want up to %d, at most %d", n, entries[0].Key, entries[n-1].Key, last, most)
			}
		}
		add(t, a.Log, "a", 1, 49)
		check(50, 50)
		add(t, a.Log, "b", 1, 50)
		settle(time.Second)
		add(t, a.Log, "c", 1, 150)
		settle(time.Second)
		check(250, 149)
		a.client.Cut(true)
		add(t, a.Log, "d", 1, 300)
		settle(time.Minute)
		a.client.Cut(false)
		check(550, 149)
		shut(t, a.Log)
		a = newReplica(t, m, "a", dir, keep)
		check(551, 50)
		if n := len(linesOf(t, a.Log)); n != 551 {
			t.Errorf("%d entries in the file", n)
		}
		var out bytes.Buffer
		b := newReplica(t, m, "b", t.TempDir(), nil)
		settle(time.Second)
		if err := b.Export(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		for _, pruned := range []bool{true, false} {
			r, err := Verify(VerifyOptions{Pruned: pruned}, Reader("export", bytes.NewReader(out.Bytes())))
			if err != nil || r.OK() != pruned || len(r.Chains) != 2 {
				t.Errorf("pruned %v: %v\n%s", pruned, err, r.Text())
			}
		}
	})
}

// TestSetBackFolder brings an old copy of a folder back, with all that is in it:
// the store knows that there was more.
func TestSetBackFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		dir := t.TempDir()
		a := newReplica(t, m, "a", dir, nil)
		add(t, a.Log, "a", 1, 3)
		shut(t, a.Log)
		writer := a.Status().Writer
		old := copyFolder(t, dir)
		a = newReplica(t, m, "a", dir, nil)
		add(t, a.Log, "b", 1, 6)
		settle(time.Second)
		shut(t, a.Log)

		a = newReplica(t, m, "a", old, nil) // with entries of other content under old numbers
		add(t, a.Log, "c", 1, 2)
		settle(time.Second)
		if s := a.Status(); s.Writer != writer+".2" || !strings.Contains(s.Damage, "the store has its head of entry 11") && !strings.Contains(s.Damage, "another hash") {
			t.Fatalf("%+v", s)
		}
		add(t, a.Log, "d", 1, 2)
		settle(time.Second)
		if n := len(stored(t, a.client, entriesOf(writer+".2"))); n != int(a.Status().Sequence) {
			t.Errorf("%d entries of the new chain in the store", n)
		}
		if n := len(stored(t, a.client, entriesOf(writer)+"0")); n != 11 {
			t.Errorf("%d entries of the old chain in the store", n)
		}
		r, err := Verify(VerifyOptions{}, Folder(old))
		if err != nil || r.OK() || r.Problems[0].Writer != writer {
			t.Errorf("%v\n%s", err, r.Text())
		}
	})
}

// TestCopiedFolder has two processes that write with one key.
func TestCopiedFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		dir := t.TempDir()
		a := newReplica(t, m, "a", dir, nil)
		add(t, a.Log, "a", 1, 3)
		settle(time.Second)
		b := newReplica(t, m, "a", copyFolder(t, dir), nil)
		for i := range 3 {
			add(t, a.Log, fmt.Sprint("x", i), 1, 2)
			settle(time.Second)
			add(t, b.Log, fmt.Sprint("y", i), 1, 2)
			settle(time.Minute)
		}
		if a.Status().Writer == b.Status().Writer {
			t.Errorf("both write %s\n%s\n%s", a.Status().Writer, a.said, b.said)
		}
		for _, r := range []*replica{a, b} {
			if s := r.Status(); s.Stored != s.Sequence {
				t.Errorf("%+v\n%s", s, r.said)
			}
		}
	})
}

// TestFoulStore has somebody write into our keys: it is told, nothing stops, and
// nothing of it is believed.
func TestFoulStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		a := newReplica(t, m, "a", t.TempDir(), nil)
		settle(time.Second)
		writer := a.Status().Writer
		foul := m.Open()
		put := func(key, value string) {
			t.Helper()
			revision := int64(0)
			if e, err := foul.Get(t.Context(), key); err == nil {
				revision = e.Revision
			}
			if _, err := foul.Put(t.Context(), key, []byte(value), revision); err != nil {
				t.Fatal(err)
			}
		}
		put(entryKey(writer, 2), "foul")
		put(headsPrefix+"nonsense", "foul")
		head := newHead(writer, 100, Hash{}, time.Now(), a.key)
		head.Key[0] ^= 1
		forged, err := json.Marshal(record{Witness: head})
		if err != nil {
			t.Fatal(err)
		}
		put(headsPrefix+writer, string(forged))
		put(headsPrefix+"b~0123456789abcdef", string(forged))
		add(t, a.Log, "a", 1, 3)
		settle(time.Minute)
		if s := a.Status(); s.Writer != writer || s.Stored != 4 || s.Peers != 0 {
			t.Errorf("%+v", s)
		}
		for _, want := range []string{"no true head at " + headsPrefix + "nonsense", "no true head at " + headsPrefix + writer, "something else than our entry at " + entryKey(writer, 2)} {
			if strings.Count(a.said.String(), want) != 1 {
				t.Errorf("said:\n%s\nwant once: %s", a.said, want)
			}
		}
		list, err := a.List(t.Context(), Filter{})
		if err != nil || len(list.Entries) != 4 {
			t.Errorf("%d entries, %v", len(list.Entries), err)
		}
	})
}

// TestStoreThatIsAway appends without one.
func TestStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		a := newReplica(t, m, "a", t.TempDir(), func(o *Options) { o.Store.(*storetest.Client).Cut(true) })
		begun := time.Now()
		add(t, a.Log, "a", 1, 20)
		if took := time.Since(begun); took > 0 {
			t.Errorf("appending waited %v of the test's time", took)
		}
		list, err := a.List(t.Context(), Filter{Limit: 3})
		if err != nil || len(list.Entries) != 3 || !list.More || !strings.Contains(list.Missing, "entries of other replicas") {
			t.Errorf("%+v, %v", list, err)
		}
		if err := a.Export(t.Context(), &bytes.Buffer{}); err == nil {
			t.Error("an export that lacks the others says so")
		}
		a.client.Cut(false)
		settle(10 * time.Second)
		if s := a.Status(); s.Stored != 21 {
			t.Errorf("%+v", s)
		}
		// What waits when the log is closed is brought over.
		add(t, a.Log, "b", 1, 5)
		shut(t, a.Log)
		if n := len(stored(t, m.Open(), entriesPrefix)); n != 26 {
			t.Errorf("%d entries in the store", n)
		}
	})
}

func TestListIsNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory(10 * time.Second)
		a := newReplica(t, m, "a", t.TempDir(), func(o *Options) { o.SegmentBytes = 3000 })
		b := newReplica(t, m, "b", t.TempDir(), func(o *Options) { o.SegmentBytes = 3000 })
		var middle time.Time
		for i := range 120 {
			for _, r := range []*replica{a, b} {
				e := sample(fmt.Sprintf("%s-%d", r.o.Name, i))
				e.Kind = []Kind{KindKill, KindRevive, KindDecision}[i%3]
				e.Target = []string{"shop/fraud", "shop/fraud/v2", "shop/fraudster"}[i%3]
				e.Actor.Name = []string{"alice", "bob"}[i%2]
				if _, err := r.Append(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				settle(time.Second)
			}
			if i == 59 {
				middle = time.Now()
			}
		}
		settle(time.Minute)
		for name, c := range map[string]struct {
			f     Filter
			count int
			more  bool
		}{
			"newest":          {Filter{Limit: 7}, 7, true},
			"by default":      {Filter{}, 100, true},
			"kills":           {Filter{Kinds: []Kind{KindKill}, Limit: 1000}, 80, false},
			"two kinds":       {Filter{Kinds: []Kind{KindKill, KindRevive}, Limit: 1000}, 160, false},
			"a model":         {Filter{Target: "shop/fraud", Limit: 1000}, 160, false},
			"a version":       {Filter{Target: "shop/fraud/v2", Limit: 1000}, 80, false},
			"a person":        {Filter{Actor: "bob", Limit: 1000}, 120, false},
			"since":           {Filter{Since: middle, Actor: "alice", Limit: 1000}, 60, false},
			"until":           {Filter{Until: middle.Add(-time.Millisecond), Actor: "alice", Limit: 1000}, 60, false},
			"a writer":        {Filter{Writer: b.Status().Writer, Actor: "alice", Limit: 1000}, 60, false},
			"nobody":          {Filter{Actor: "carol"}, 0, false},
			"exactly as many": {Filter{Actor: "bob", Limit: 120}, 120, false},
		} {
			list, err := a.List(t.Context(), c.f)
			if err != nil || len(list.Entries) != c.count || list.More != c.more || list.Missing != "" {
				t.Errorf("%s: %d entries, more %v, missing %q, %v", name, len(list.Entries), list.More, list.Missing, err)
			}
			for i, e := range list.Entries {
				if i > 0 && e.At.After(list.Entries[i-1].At) {
					t.Errorf("%s: entry %d is newer than the one before", name, i)
				}
			}
		}
		shut(t, a.Log)
		list, err := ListFolder(a.o.Dir, Filter{Kinds: []Kind{KindKill}, Limit: 1000})
		if err != nil || len(list.Entries) != 40 {
			t.Errorf("%d entries, %v", len(list.Entries), err)
		}
	})
}

// TestExports holds what is exported against Verify, elsewhere.
func TestExports(t *testing.T) {
	l := written(t, "control-1", 10, Options{SegmentBytes: 3000})
	var live, folder, alone bytes.Buffer
	if err := l.Export(t.Context(), &live); err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	if err := ExportFolder(l.o.Dir, &folder, false); err != nil {
		t.Fatal(err)
	}
	if err := ExportFolder(l.o.Dir, &alone, true); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]*bytes.Buffer{"live": &live, "folder": &folder, "alone": &alone} {
		r, err := Verify(VerifyOptions{}, Reader(name, bytes.NewReader(out.Bytes())))
		if err != nil || !r.OK() || r.Chains[0].Last != 11 || (r.Chains[0].Witnessed == 11) != (name != "alone") {
			t.Errorf("%s: %v\n%s", name, err, r.Text())
		}
		for i, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
			if !json.Valid(line) || !printable(string(line)) {
				t.Errorf("%s:%d: %q", name, i+1, line)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "export.jsonl")
	if err := os.WriteFile(path, folder.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(VerifyOptions{}, Path(path), Path(filepath.Join(l.o.Dir, l.Status().Writer))); err != nil || !r.OK() || len(r.Chains) != 2 {
		t.Errorf("%v\n%s", err, r.Text())
	}
	if err := ExportFolder(t.TempDir(), &alone, false); err == nil {
		t.Error("a folder without chains")
	}
}
