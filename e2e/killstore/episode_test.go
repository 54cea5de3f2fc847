package killstore

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
)

const (
	clientsAtOnce = 16
	rounds        = 5 // of faults, in an episode
	// hot is how many targets are asked for at a time, so that clients meet.
	hot = 8

	faultsLast = 3 * time.Second // while clients ask
	healLast   = 1500 * time.Millisecond
	agreeIn    = 40 * time.Second // replicas that see each other again
	checkIn    = 3 * time.Minute  // porcupine, of one target

	killsPrefix = "/safestate/v1/kills/"
)

// episode is one run of everything by one seed.
type episode struct {
	*notes
	t        testing.TB
	seed     uint64
	etcd     *cluster
	replicas []*replica
	told     []string // what broke, for a person

	agreed map[string]kill.State    // what the store had when all agreed last, by target
	taken  map[string]time.Duration // when an order was found in the store, by ID
	found  map[string][]porcupine.Operation
}

// newEpisode starts everything. It ends with the test.
func newEpisode(t testing.TB, program string, seed uint64) *episode {
	t.Helper()
	e := &episode{
		notes: newNotes(), t: t, seed: seed, etcd: startCluster(t), taken: map[string]time.Duration{}, found: map[string][]porcupine.Operation{},
	}
	world := writeWorld(t)
	for i := range three {
		r := newReplica(t, program, world, string(rune('a'+i)))
		r.over(e.etcd)
		r.start()
		e.replicas = append(e.replicas, r)
	}
	for _, r := range e.replicas {
		r.ready()
	}
	return e
}

// run is the episode. What it returns is wrong.
func (e *episode) run() (problems []string) {
	random := rand.New(rand.NewPCG(e.seed, 1000))
	all := targets()
	clients := make([]*client, clientsAtOnce)
	for i := range clients {
		clients[i] = newClient(e.notes, e.replicas, e.seed, i)
	}
	for range rounds {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		moments := schedule(random, faultsLast)
		asking := e.ask(clients, all[:hot], faultsLast+healLast)
		e.breaks(moments)
		asking.Wait()
		if problems = e.agree(); len(problems) > 0 {
			return problems
		}
	}
	changes, err := e.changes()
	if err != nil {
		return []string{err.Error()}
	}
	for _, target := range slices.Sorted(maps.Keys(changes)) {
		problems = append(problems, unordered(changes[target])...)
	}
	return slices.Concat(problems, lost(e.ops, e.agreed), backwards(e.sightings), e.linear(), e.unrecorded(changes))
}

// ask has the clients ask for a while.
func (e *episode) ask(clients []*client, targets []string, length time.Duration) *sync.WaitGroup {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	var asking, all sync.WaitGroup
	for _, c := range clients {
		asking.Go(func() { c.run(ctx, targets) })
	}
	all.Go(func() { asking.Wait(); cancel() })
	return &all
}

// agree waits until every replica says what the store has, and that has every kill
// that was acknowledged.
func (e *episode) agree() (problems []string) {
	for _, r := range e.replicas {
		if r.process.Exited() { // it was here before, and needs no store to start
			return []string{fmt.Sprintf("replica %s ended by itself: %s", r.name, lastLine(r.process.Log()))}
		}
	}
	for end := time.Now().Add(agreeIn); ; {
		begun := e.now()
		views, problem := e.views()
		states, err := e.states()
		switch {
		case problem != "":
			problems = []string{problem}
		case err != nil:
			problems = []string{"the store: " + err.Error()}
		default:
			problems = append(differences(views, states), lost(e.ops, states)...)
		}
		if len(problems) == 0 {
			e.settle(states, begun)
			return nil
		}
		if time.Now().After(end) {
			return problems
		}
		timer := time.NewTimer(20 * time.Millisecond)
		<-timer.C
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// settle notes what the store has where all agree.
func (e *episode) settle(states map[string]kill.State, begun time.Duration) {
	e.agreed = states
	for _, target := range targets() {
		s := states[target]
		for _, id := range s.Seen {
			if _, known := e.taken[id]; !known {
				e.taken[id] = e.now()
			}
		}
		e.found[target] = append(e.found[target], happened(step{Event: found, Generation: s.Generation, Alive: !s.Killed}, begun, e.now()))
	}
}

// view is what a replica says of a target.
type view struct {
	Generation uint64
	Killed     bool
	Mode       kill.Mode
}

// views asks every replica. A problem is that one does not answer.
func (e *episode) views() (out [three]map[string]view, problem string) {
	asker := newClient(e.notes, e.replicas, e.seed, clientsAtOnce)
	defer asker.http.CloseIdleConnections()
	for i, r := range e.replicas {
		var list admin.KillList
		if _, err := asker.ask(&operation{Replica: i}, "/v1/kills", "", nil, &list, true); err != nil {
			return out, fmt.Sprintf("replica %s: %v", r.name, err)
		}
		out[i] = map[string]view{}
		for _, k := range list.Kills {
			out[i][k.Target] = view{k.Generation, k.Killed, k.Mode}
		}
	}
	return out, ""
}

// states reads what the store has, by target.
func (e *episode) states() (map[string]kill.State, error) {
	got, err := e.etcd.get(killsPrefix)
	if err != nil {
		return nil, err
	}
	out := map[string]kill.State{}
	for _, kv := range got.Kvs {
		state, err := kill.Decode(kv.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kv.Key, err)
		}
		out[strings.TrimPrefix(string(kv.Key), killsPrefix)] = state
	}
	return out, nil
}

// differences are what replicas say otherwise than the store.
func differences(views [three]map[string]view, states map[string]kill.State) (out []string) {
	want := map[string]view{}
	for target, s := range states {
		v := view{Generation: s.Generation, Killed: s.Killed}
		if s.Killed {
			v.Mode = s.Mode
		}
		want[target] = v
	}
	for i := range views {
		for _, target := range targets() {
			if got := views[i][target]; got != want[target] {
				out = append(out, fmt.Sprintf("replica %d says of %s %+v, and the store %+v", i, target, got, want[target]))
			}
		}
	}
	return out
}

// changes is all that the store ever had, by target.
func (e *episode) changes() (map[string][]change, error) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	got, err := e.etcd.client.Get(ctx, killsPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("the store: %w", err)
	}
	last := int64(0)
	for _, kv := range got.Kvs {
		last = max(last, kv.ModRevision)
	}
	out := map[string][]change{}
	history := e.etcd.client.Watch(ctx, killsPrefix, clientv3.WithPrefix(), clientv3.WithRev(1))
	for read := int64(0); read < last; {
		response, ok := <-history
		if !ok || response.Err() != nil {
			return nil, fmt.Errorf("the store's history after revision %d cannot be read: %w", read, response.Err())
		}
		for _, event := range response.Events {
			read = max(read, event.Kv.ModRevision)
			state, err := kill.Decode(event.Kv.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", event.Kv.Key, err)
			}
			out[state.Target.Key()] = append(out[state.Target.Key()], change{event.Kv.ModRevision, state})
		}
	}
	return out, nil
}

// unrecorded waits until the trails have what they should, and says what they lack.
func (e *episode) unrecorded(changes map[string][]change) (problems []string) {
	var dirs []string
	for _, r := range e.replicas {
		dirs = append(dirs, r.trail())
	}
	for end := time.Now().Add(agreeIn); ; {
		problems = lacking(dirs, e.ops, changes)
		if len(problems) == 0 || time.Now().After(end) {
			return problems
		}
		timer := time.NewTimer(200 * time.Millisecond)
		<-timer.C
	}
}

// linear holds what the clients were told against the model, a target at a time.
func (e *episode) linear() (problems []string) {
	by := map[string][]operation{}
	for _, op := range e.ops {
		by[op.Target] = append(by[op.Target], op)
	}
	for _, target := range targets() {
		events := append(history(by[target], e.taken), e.found[target]...)
		if got := porcupine.CheckOperationsTimeout(model.ToModel(), events, checkIn); got != porcupine.Ok {
			problems = append(problems, fmt.Sprintf("what happened to %s is %s:\n%s", target, got, text(by[target])))
		}
	}
	return problems
}

// text lists operations for a person.
func text(ops []operation) string {
	var out strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&out, "\t%s\n", op)
	}
	return out.String()
}
