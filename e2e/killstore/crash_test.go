package killstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// release sends one command to a model's releases.
func (c *client) release(model string) (reached bool) {
	op, key := c.begin(doRelease, model, 0)
	body := admin.RolloutRequest{Action: []string{"start", "pause", "resume", "abort"}[c.random.IntN(4)], Reason: op.Reason}
	if body.Action == "start" {
		hold := release.Duration(0)
		body.Version, body.Again, body.Force, body.Hold = "v2", true, true, &hold
		body.Steps = []release.Step{{Weight: 10, Duration: release.Duration(time.Hour)}, {Weight: 100}}
	}
	var answer admin.Model
	status, err := c.ask(&op, "/v1/models/"+model+"/rollout", key, body, &answer, true)
	problem := (*admin.Problem)(nil)
	switch {
	case err == nil:
		op.Outcome, op.Generation = inStore, answer.Generation
	case errors.As(err, &problem) && status == http.StatusConflict:
		op.Outcome = refused
	case surelyNot(status, err):
		op.Outcome = nothing
	}
	op.Return = c.now()
	c.note(op)
	return status != 0
}

// TestCrashes kills a replica again and again, with its own store, at any moment of
// its life, while it is asked to kill, to revive and to release. Whatever it
// acknowledged is in its trail at once, and what is in its store is there soon after
// it is started again.
func TestCrashes(t *testing.T) {
	random := rand.New(rand.NewPCG(*firstSeed, 0))
	r := newReplica(t, program(t), writeWorld(t), "alone")
	n := newNotes()
	clients := make([]*client, 6)
	for i := range clients {
		clients[i] = newClient(n, []*replica{r}, *firstSeed, i)
	}
	killed, released := targets()[1:4*4+1], []string{"default/m6", "default/m7"}
	for crash := range *crashes {
		r.start()
		if crash%4 != 3 { // else it may be killed while it starts
			r.ready()
			whole(t, n, r, released)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		for i, c := range clients {
			asking.Go(func() {
				for ctx.Err() == nil {
					var reached bool
					switch target := killed[c.random.IntN(len(killed))]; {
					case i%3 == 0:
						reached = c.release(released[c.random.IntN(len(released))])
					case c.random.IntN(2) == 0:
						reached = c.kill(0, target)
					default:
						reached = c.revive(0, target)
					}
					if !reached {
						c.rest(ctx)
					}
				}
			})
		}
		timer := time.NewTimer(time.Duration(20+random.IntN(600)) * time.Millisecond)
		<-timer.C
		r.process.Kill()
		cancel()
		asking.Wait()
		for _, problem := range lacking([]string{r.trail()}, n.ops, nil) {
			t.Errorf("crash %d: %s", crash, problem)
		}
		if t.Failed() {
			break
		}
	}
	r.start()
	r.ready()
	whole(t, n, r, released)
	done := 0
	for _, op := range n.ops {
		if op.Outcome == inStore || op.Outcome == inCopy {
			done++
		}
	}
	t.Logf("figure crash_acknowledged_actions %d", done)
	t.Logf("%d crashes: %s", *crashes, n.summary())
	if done < *crashes {
		t.Errorf("only %d actions in %d crashes: they met nothing", done, *crashes)
	}
}

// whole waits until the trail has all that the store has: an entry for each
// generation of each target, and for each record of each model.
func whole(t *testing.T, n *notes, r *replica, released []string) {
	t.Helper()
	asker := newClient(n, []*replica{r}, 0, 100)
	defer asker.http.CloseIdleConnections()
	var problems []string
	for end := time.Now().Add(agreeIn); ; {
		if problems = missing(asker, r, released); len(problems) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the store is ahead of the trail:\n%s", strings.Join(problems, "\n"))
		}
		timer := time.NewTimer(300 * time.Millisecond) // the API bounds how often histories are read
		<-timer.C
	}
}

// missing names what the store has and the trail has not.
func missing(asker *client, r *replica, released []string) (problems []string) {
	entries, problems := entriesOf([]string{r.trail()})
	type change struct {
		target string
		number uint64
	}
	told := map[change]bool{}
	for i := range entries {
		e := &entries[i]
		var record release.Record
		if strings.HasPrefix(e.ID, "release/") && json.Unmarshal(e.Evidence, &record) == nil {
			told[change{record.Model, record.Sequence}] = true
		} else if e.Generation > 0 {
			told[change{e.Target, e.Generation}] = true
		}
	}
	want := func(target string, last uint64) {
		for i := range last {
			if !told[change{target, i + 1}] {
				problems = append(problems, fmt.Sprintf("%s: nothing tells of %d of %d", target, i+1, last))
			}
		}
	}
	var kills admin.KillList
	if _, err := asker.exchange("http://"+r.http+"/v1/kills", "", nil, &kills); err != nil {
		problems = append(problems, err.Error())
	}
	for _, k := range kills.Kills {
		want(k.Target, k.Generation)
	}
	for _, model := range released {
		var history admin.History
		if _, err := asker.exchange("http://"+r.http+"/v1/history?limit=1&model="+model, "", nil, &history); err != nil {
			problems = append(problems, err.Error())
		}
		for i := range history.Records {
			want(model, history.Records[i].Sequence)
		}
	}
	return problems
}
