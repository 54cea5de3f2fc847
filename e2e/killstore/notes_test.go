package killstore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// action is what a client asks for.
type action int

const (
	doKill action = iota
	doRevive
	doLook
	doRelease // a command to a model's releases
)

// outcome is what a client knows of what it asked for.
type outcome int

const (
	unknown outcome = iota // no answer, or one that says that nobody knows
	nothing                // it was surely not done
	inStore                // done, and in the store
	inCopy                 // done on the replica alone, which brings it to the store later
	refused                // a revive that what the replica saw does not allow
)

// operation is one thing that a client asked for. Times are since the episode's
// start.
type operation struct {
	Client     int
	Do         action
	Target     string
	ID         string // of a kill: the order's
	Reason     string // no other has it
	Expect     uint64 // of a revive: the generation that it names
	Replica    int    // that was asked
	Call       time.Duration
	Return     time.Duration // when the client had the answer, or gave up
	Outcome    outcome
	Warned     bool   // the answer told that something is missing of it
	Generation uint64 // that the answer told
	Alive      bool   // and whether the target was
}

var (
	actions  = map[action]string{doKill: "kills", doRevive: "revives", doLook: "looks", doRelease: "releases"}
	outcomes = map[outcome]string{unknown: "unknown", nothing: "not done", inStore: "done", inCopy: "done alone", refused: "refused"}
)

func (op operation) String() string {
	what := fmt.Sprintf("%s to %s: client %d %s %s", op.Call, op.Return, op.Client, actions[op.Do], op.Target)
	if op.Do == doRevive {
		what += fmt.Sprintf(" of generation %d", op.Expect)
	}
	is := map[bool]string{true: "alive", false: "killed"}[op.Alive]
	return fmt.Sprintf("%s at replica %d (%s): %s, %s at generation %d", what, op.Replica, op.Reason, outcomes[op.Outcome], is, op.Generation)
}

// sighting is what somebody saw of a target.
type sighting struct {
	Observer     string // who never sees less again: a process of a replica
	Target       string
	Call, Return time.Duration
	Generation   uint64
	Killed       bool
}

// notes are what clients note together. They are safe for concurrent use.
type notes struct {
	begun time.Time

	mu        sync.Mutex
	ops       []operation
	sightings []sighting
	newest    map[string]uint64 // the newest generation that anybody saw, by target
	kills     map[string]int    // that were sent, by target
}

func newNotes() *notes {
	return &notes{begun: time.Now(), newest: map[string]uint64{}, kills: map[string]int{}}
}

// now is how long the notes have been taken.
func (n *notes) now() time.Duration { return time.Since(n.begun) }

func (n *notes) note(op operation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ops = append(n.ops, op)
}

func (n *notes) see(s sighting) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sightings = append(n.sightings, s)
	n.newest[s.Target] = max(n.newest[s.Target], s.Generation)
}

// seen is the newest generation of a target that anybody saw.
func (n *notes) seen(target string) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest[target]
}

// mostKills of a target are sent: what a state remembers of orders is bounded, and
// here it is to have all.
const mostKills = 60

// mayKill counts the kills of a target.
func (n *notes) mayKill(target string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kills[target]++
	return n.kills[target] <= mostKills
}

// sent is how many operations reached a replica.
func (n *notes) sent() (sum int) {
	for _, op := range n.ops {
		if op.Outcome != nothing {
			sum++
		}
	}
	return sum
}

// summary counts what happened.
func (n *notes) summary() string {
	counts := map[string]int{}
	for _, op := range n.ops {
		counts[actions[op.Do]+" "+outcomes[op.Outcome]]++
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(parts, ", ")
}
