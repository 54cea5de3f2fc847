package control

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/store/storetest"
)

// proxiesOf writes proxies' rows down.
func proxiesOf(p admin.KillProof) string {
	var out []string
	for _, r := range p.Rows {
		if r.Kind == kindProxy {
			out = append(out, r.Node+" "+string(r.State))
		}
	}
	return strings.Join(out, "; ")
}

// A replica that starts while the store is away does not know whom to expect:
// however many proxies are proven, the kill is not. Whom its own disk names is
// missed by name.
func TestAStartWithoutTheStoreProvesNothing(t *testing.T) {
	m, dir := storetest.NewMemory(5*time.Second), t.TempDir()
	world := newModels(t).world(t, one, 1, 100, unedited)
	b, _ := replica(t, m, dir, "one", &trail{})
	b.configure(world)
	edge := connectTo(t, b.xds)
	edge.subscribe(resourcev3.ClusterType)
	edge.accept(edge.next(resourcev3.ClusterType))
	if !eventually(func() bool {
		text, err := os.ReadFile(filepath.Join(dir, proxiesFile))
		return err == nil && strings.Contains(string(text), `"edge"`)
	}) {
		t.Fatal("the proxy is not on the disk")
	}
	b.stop()

	b, link := replicaCutOff(t, m, dir, "one", &trail{})
	b.configure(world)
	b.kill(theModel, "1")
	proof := b.control.KillProof(theModel)
	if got := proxiesOf(proof); proof.Complete || got != "(proxies not known) silent; edge silent" {
		t.Errorf("complete: %v, %s", proof.Complete, got)
	}
	if said := b.control.killStatement(); !slices.ContainsFunc(said.Rows, func(r admin.KillRow) bool { return r.How == errWhom.Error() }) {
		t.Errorf("other replicas are told %+v", said.Rows)
	}
	if err := b.control.o.XDS.Deregister("edge"); err != nil {
		t.Fatal(err)
	}
	if p := b.control.KillProof(theModel); p.Complete {
		t.Errorf("complete without a list: %+v", p)
	}
	link.Cut(false)
	if !eventually(func() bool { return !strings.Contains(proxiesOf(b.control.KillProof(theModel)), "not known") }) {
		t.Errorf("the store is back: %s", proxiesOf(b.control.KillProof(theModel)))
	}
}

// The copy names who was seen lately, and makes up for the time in which nobody was
// there to see them; what it says of long ago is of other proxies.
func TestTheCopyOfTheListForgets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, proxiesFile)
	open := func() *register {
		t.Helper()
		c, err := openCopy(dir, proxiesFile)
		if err != nil {
			t.Fatal(err)
		}
		x := xds.New(xds.Options{})
		t.Cleanup(x.Close)
		r, err := openRegister(newRegister(nil, x), c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	kept := func(r *register) string {
		t.Helper()
		if err := r.copy.flush(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	r, now := open(), time.Now().UTC().Truncate(time.Second)
	r.list.Seen["listed"] = now
	r.list.Gone["gone"] = now.Add(time.Second)
	r.remember([]string{"edge", "gone"}, now)
	if got := kept(r); !strings.Contains(got, `"edge"`) || !strings.Contains(got, `"listed"`) || strings.Contains(got, `"gone"`) {
		t.Errorf("kept: %s", got)
	}
	delete(r.list.Seen, "listed")
	r.remember([]string{"edge"}, now.Add(xds.DefaultExpect))
	if got := kept(r); !strings.Contains(got, `"edge"`) || strings.Contains(got, `"listed"`) {
		t.Errorf("kept ten minutes later: %s", got)
	}
	for ago, want := range map[time.Duration]int{time.Minute: 1, 20 * time.Hour: 1, 30 * time.Hour: 0} {
		if err := os.WriteFile(file, []byte(`{"edge": "`+now.Add(-ago).Format(time.RFC3339)+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		r := open()
		if n := len(r.xds.Proxies()); n != want {
			t.Errorf("seen %s ago: %d are expected", ago, n)
		}
		if n := strings.Count(kept(r), "edge"); n != want {
			t.Errorf("seen %s ago: %d are kept", ago, n)
		}
	}
}

// A list that has no room for all says so, and goes on to be written; nothing is
// proven as a whole by it.
func TestAListThatIsFull(t *testing.T) {
	b, _ := replica(t, storetest.NewMemory(5*time.Second), t.TempDir(), "one", &trail{})
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.kill(theModel, "1")
	r := b.control.register
	if !eventually(r.known) {
		t.Fatal("the list is not read")
	}
	var many []string
	for i := range 12_000 {
		many = append(many, fmt.Sprintf("a-proxy-with-a-name-of-forty-bytes-%05d", i))
	}
	count := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.list.Seen)
	}
	write := func(connected []string, after time.Duration) int {
		t.Helper()
		if !eventually(func() bool { return r.write(t.Context(), connected, time.Now().Add(after)) == nil && count() > 0 }) {
			t.Fatal("the list is not written")
		}
		return count()
	}
	n := write(many, 0)
	if more := r.more(); more == 0 || n+more != len(many) {
		t.Errorf("%d are listed, and %d are not", n, more)
	}
	if proof := b.control.KillProof(theModel); proof.Complete || !strings.Contains(proxiesOf(proof), "(proxies not listed) silent") {
		t.Errorf("complete: %v", proof.Complete)
	}
	if n := write(many[:10], 2*xds.DefaultExpect); n != 10 || r.more() != 0 {
		t.Errorf("%d are listed, and %d are not, once these have gone", n, r.more())
	}
	if got := proxiesOf(b.control.KillProof(theModel)); strings.Contains(got, "listed") {
		t.Errorf("%s", got)
	}
}
