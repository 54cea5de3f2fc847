package killstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/control"
	"github.com/safestate/safestate/internal/kill"
)

const (
	// patience is how long a client waits for an answer. A replica waits for 2 s for
	// its store.
	patience = 2500 * time.Millisecond
	// breath is how long a client rests after it reached nobody.
	breath = 30 * time.Millisecond
)

// client asks, one thing after the other.
type client struct {
	*notes
	replicas []*replica
	number   int
	random   *rand.Rand
	http     http.Client
	asked    int
}

func newClient(n *notes, replicas []*replica, seed uint64, number int) *client {
	return &client{notes: n, replicas: replicas, number: number, random: rand.New(rand.NewPCG(seed, uint64(number))), http: http.Client{
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 1},
	}}
}

// run asks any replica until ctx ends, of the targets that it is given alone: few at
// a time, so that clients meet.
func (c *client) run(ctx context.Context, targets []string) {
	for ctx.Err() == nil {
		target, replica := targets[c.random.IntN(len(targets))], c.random.IntN(len(c.replicas))
		var reached bool
		switch n := c.random.IntN(100); {
		case n < 40:
			reached = c.look(replica)
		case n < 65 && c.mayKill(target):
			reached = c.kill(replica, target)
		default:
			reached = c.revive(replica, target)
		}
		if !reached {
			c.rest(ctx)
		}
	}
}

// rest waits for a breath.
func (c *client) rest(ctx context.Context) {
	timer := time.NewTimer(breath)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// begin is a new operation, and the key of its request.
func (c *client) begin(do action, target string, replica int) (op operation, key string) {
	c.asked++
	key = fmt.Sprintf("%d-%d", c.number, c.asked)
	return operation{Client: c.number, Do: do, Target: target, Reason: "drill " + key, Replica: replica, Call: c.now()}, key
}

// kill sends a kill, and half of those that get no answer once more.
func (c *client) kill(replica int, target string) (reached bool) {
	op, key := c.begin(doKill, target, replica)
	op.ID = orderID(fmt.Sprintf("local:c%d (claimed)", c.number), key)
	mode := kill.Modes()[c.random.IntN(len(kill.Modes()))]
	tries := 1 + c.random.IntN(2)
	for try := range tries {
		var answer admin.Killed
		status, err := c.ask(&op, "/v1/kill", key, admin.KillRequest{Target: target, Mode: string(mode), Reason: op.Reason}, &answer, try == 0)
		reached = reached || status != 0
		switch {
		case err == nil && answer.Durability == string(control.InStore):
			op.Outcome = inStore
		case err == nil && answer.Durability == string(control.InCopy):
			op.Outcome = inCopy
		case err == nil:
			op.Outcome = unknown // in memory alone: nothing is promised
		case surelyNot(status, err) && try == 0:
			op.Outcome = nothing
		default:
			op.Outcome = unknown
		}
		op.Return, op.Warned = c.now(), answer.Warning != ""
		op.Generation, op.Alive = answer.State.Generation, !answer.State.Killed
		if err == nil {
			break
		}
	}
	c.note(op)
	return reached
}

// orderID is what the API makes of the name of who asks, and the request's key.
func orderID(name, key string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(name+"\x00"+key)))
}

// revive sends a revive that names what was seen of the target last, or sometimes
// what was before.
func (c *client) revive(replica int, target string) (reached bool) {
	op, key := c.begin(doRevive, target, replica)
	if op.Expect = max(c.seen(target), 1); c.random.IntN(10) == 0 {
		op.Expect = max(op.Expect-1, 1)
	}
	var answer admin.KillState
	status, err := c.ask(&op, "/v1/revive", key, admin.ReviveRequest{Target: target, Generation: op.Expect, Reason: op.Reason}, &answer, true)
	problem := (*admin.Problem)(nil)
	switch {
	case err == nil:
		op.Outcome, op.Generation, op.Alive = inStore, answer.Generation, !answer.Killed
	case errors.As(err, &problem) && status == http.StatusConflict:
		op.Outcome, op.Generation, op.Alive = refused, problem.Generation, strings.Contains(problem.Message, "is not killed")
	case surelyNot(status, err):
		op.Outcome = nothing
	}
	op.Return = c.now()
	c.note(op)
	return status != 0
}

// look asks a replica for everything.
func (c *client) look(replica int) (reached bool) {
	op, _ := c.begin(doLook, "", replica)
	var answer admin.KillList
	status, err := c.ask(&op, "/v1/kills", "", nil, &answer, true)
	if op.Outcome = nothing; err == nil {
		op.Outcome = inStore
	}
	op.Return = c.now()
	c.note(op)
	return status != 0
}

// errUnsent is that no connection was made for a request: what it asks for is not
// done. (Where one was, and broke, the transport may have tried again on another: the
// request has a key.)
var errUnsent = errors.New("nothing was sent")

// surelyNot reports whether what was asked for was not done: it was not sent, or
// refused before it began.
func surelyNot(status int, err error) bool {
	return status == http.StatusTooManyRequests || errors.Is(err, errUnsent)
}

// ask sends a request, a GET where it has no body, and reads the answer. The status
// is 0 where there was none. It notes what the answer shows of targets where it is
// fresh: to a request that comes again it may be the one of before.
func (c *client) ask(op *operation, path, key string, body, answer any, fresh bool) (status int, err error) {
	r := c.replicas[op.Replica]
	life, begun := r.life.Load(), c.now()
	status, err = c.exchange("http://"+r.http+path, key, body, answer)
	if !fresh || life != r.life.Load() { // else nobody knows which process it was
		return status, err
	}
	see := func(target string, generation uint64, killed bool) {
		c.see(sighting{fmt.Sprintf("replica %s, life %d", r.name, life), target, begun, c.now(), generation, killed})
	}
	problem := (*admin.Problem)(nil)
	switch a := answer.(type) {
	case *admin.Killed:
		if err == nil {
			see(op.Target, a.State.Generation, a.State.Killed)
		}
	case *admin.KillState:
		if err == nil {
			see(op.Target, a.Generation, a.Killed)
		} else if errors.As(err, &problem) && status == http.StatusConflict {
			see(op.Target, problem.Generation, !strings.Contains(problem.Message, "is not killed"))
		}
	case *admin.KillList:
		if err == nil {
			for _, k := range a.Kills {
				see(k.Target, k.Generation, k.Killed)
			}
		}
	}
	return status, err
}

func (c *client) exchange(url, key string, body, answer any) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	method, text := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		if text, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	request.Header.Set(access.UserHeader, fmt.Sprintf("c%d", c.number))
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := c.http.Do(request)
	switch {
	case err != nil && !sent:
		return 0, fmt.Errorf("%w: %w", errUnsent, err)
	case err != nil:
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		problem := &admin.Problem{Status: response.StatusCode}
		if err := json.NewDecoder(response.Body).Decode(problem); err != nil {
			return 0, err
		}
		return response.StatusCode, problem
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}
