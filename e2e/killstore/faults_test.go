package killstore

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// faultKind is a way in which something breaks.
type faultKind int

const (
	replicaDies   faultKind = iota // replica A is killed; it is started again in the end
	memberDies                     // so is member A of etcd
	replicaCutOff                  // replica A reaches no member
	replicaLink                    // replica A does not reach member B
	memberCutOff                   // member A and the others do not reach each other
	memberLink                     // member A does not reach member B, which reaches A
	membersCutOff                  // no member reaches another: nothing can be written
	faultKinds                     // how many there are
)

// fault is one thing that breaks for a while.
type fault struct {
	Kind   faultKind
	A, B   int
	Silent bool // a link that is cut swallows what is sent, and refuses nothing
}

func (f fault) String() string {
	how := map[bool]string{true: " silently", false: ""}[f.Silent]
	switch f.Kind {
	case replicaDies:
		return fmt.Sprintf("replica %d dies", f.A)
	case memberDies:
		return fmt.Sprintf("member %d dies", f.A)
	case replicaCutOff:
		return fmt.Sprintf("replica %d is cut off%s", f.A, how)
	case replicaLink:
		return fmt.Sprintf("replica %d loses member %d%s", f.A, f.B, how)
	case memberCutOff:
		return fmt.Sprintf("member %d is cut off%s", f.A, how)
	case memberLink:
		return fmt.Sprintf("member %d loses member %d%s", f.A, f.B, how)
	case membersCutOff:
		return "the members are cut off from each other" + how
	}
	return "nothing"
}

// moment is when a fault begins or ends.
type moment struct {
	At    time.Duration
	Fault fault
	Ends  bool
}

// schedule has one to three faults begin within a time, in order, and all of them
// end within it. No process dies twice at once.
func schedule(random *rand.Rand, within time.Duration) (out []moment) {
	dying := map[fault]bool{}
	for range 1 + random.IntN(3) {
		f := fault{Kind: faultKind(random.IntN(int(faultKinds))), A: random.IntN(three), Silent: random.IntN(2) == 0}
		f.B = (f.A + 1 + random.IntN(three-1)) % three
		if f.Kind == replicaDies || f.Kind == memberDies {
			f.B, f.Silent = 0, false
			if dying[f] {
				continue
			}
			dying[f] = true
		}
		begin := time.Duration(random.Int64N(int64(within / 2)))
		end := begin + within/8 + time.Duration(random.Int64N(int64(within-begin-within/8)))
		out = append(out, moment{begin, f, false}, moment{end, f, true})
	}
	slices.SortStableFunc(out, func(a, b moment) int { return cmp.Compare(a.At, b.At) })
	return out
}

// breaks runs a schedule.
func (e *episode) breaks(moments []moment) {
	begun := time.Now()
	for _, m := range moments {
		timer := time.NewTimer(m.At - time.Since(begun))
		<-timer.C
		if m.Ends {
			e.mend(m.Fault)
		} else {
			e.told = append(e.told, fmt.Sprintf("%s: %s", e.now().Round(time.Millisecond), m.Fault))
			e.breakDown(m.Fault)
		}
	}
}

func (e *episode) breakDown(f fault) {
	switch f.Kind {
	case replicaDies:
		e.replicas[f.A].process.Kill()
	case memberDies:
		e.etcd.members[f.A].process.Kill()
	default:
		for _, l := range e.linksOf(f) {
			l.cut(f.Silent)
		}
	}
}

func (e *episode) mend(f fault) {
	switch f.Kind {
	case replicaDies:
		e.replicas[f.A].start()
	case memberDies:
		e.etcd.start(f.A)
	default:
		for _, l := range e.linksOf(f) {
			l.mend()
		}
	}
}

// linksOf are the links that a fault cuts.
func (e *episode) linksOf(f fault) (out []*link) {
	for from := range three {
		for to := range three {
			cut := false
			switch f.Kind {
			case memberCutOff:
				cut = from == f.A || to == f.A
			case memberLink:
				cut = from == f.A && to == f.B
			case membersCutOff:
				cut = true
			}
			if cut && from != to {
				out = append(out, e.etcd.ways[from][to])
			}
			if f.Kind == replicaCutOff && from == f.A || f.Kind == replicaLink && from == f.A && to == f.B {
				out = append(out, e.replicas[from].ways[to])
			}
		}
	}
	return out
}

// TestSchedules: every fault comes, begins before it ends, and ends in time; one seed
// is one schedule.
func TestSchedules(t *testing.T) {
	const within = time.Second
	kinds := map[faultKind]bool{}
	for seed := range uint64(100) {
		moments := schedule(rand.New(rand.NewPCG(seed, 0)), within)
		open := map[fault]int{}
		for _, m := range moments {
			kinds[m.Fault.Kind] = true
			if m.At < 0 || m.At > within {
				t.Errorf("seed %d: %s at %s", seed, m.Fault, m.At)
			}
			if m.Ends {
				open[m.Fault]--
			} else {
				open[m.Fault]++
			}
			if open[m.Fault] < 0 {
				t.Errorf("seed %d: %s ends before it begins", seed, m.Fault)
			}
		}
		for f, n := range open {
			if n != 0 {
				t.Errorf("seed %d: %s does not end", seed, f)
			}
		}
		if again := schedule(rand.New(rand.NewPCG(seed, 0)), within); !slices.Equal(moments, again) {
			t.Errorf("seed %d: two schedules", seed)
		}
	}
	if len(kinds) != int(faultKinds) {
		t.Errorf("only the kinds %v come", kinds)
	}
}
