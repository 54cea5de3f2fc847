// Package probe asks proxies, through the listeners that callers use, by which
// kills their workers route. An ACK says that a proxy has taken a configuration,
// before each of its workers has: an answer shows what a worker does.
package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/envoy"
)

// Seen is what one proxy answered.
type Seen struct {
	// Asked is how many connections were tried, Answered how many of them gave an
	// answer, and Sets which sets of kills they named, with how many each. Each
	// connection is new, so that the kernel deals them out to all workers: of N
	// workers one is missed by k of them with a chance of ((N-1)/N)^k.
	Asked, Answered int
	Sets            map[string]int
	At              time.Time
	// Problem is why a connection gave no answer; empty: all did.
	Problem string
}

// And adds what another connection, or the same proxy at another address, answered.
func (s Seen) And(more Seen) Seen {
	sets := maps.Clone(s.Sets)
	if sets == nil {
		sets = map[string]int{}
	}
	for set, n := range more.Sets {
		sets[set] += n
	}
	return Seen{s.Asked + more.Asked, s.Answered + more.Answered, sets, more.At, cmp.Or(s.Problem, more.Problem)}
}

// Shows reports whether every connection named the set.
func (s Seen) Shows(set string) bool {
	return s.Problem == "" && s.Asked > 0 && s.Answered == s.Asked && s.Sets[set] == s.Asked
}

// Answer is the body of an answer.
type Answer struct {
	KillGeneration uint64 `json:"killGeneration"`
	Set            string `json:"set"`
}

// Timeout is how long one connection may take in all.
const Timeout = time.Second

// atOnce is how many connections to a proxy are tried at a time.
const atOnce = 16

// maxAnswer is the most that is read of an answer.
const maxAnswer = 4 << 10

// Ask opens so many connections to the proxy of a node id and asks once on each, at
// most 16 at a time: every other one for the routes behind a hop, where a proxy has
// such. It ends with the first that gives no answer, or that of another proxy: then
// nothing is shown. The address is
// "http://host:port", "https://host:port" (whose certificate is not checked: the
// answer is no secret, and a forged one claims no more than the peer could do
// itself) or "unix:///path". It never fails: what went wrong is in what it saw.
func Ask(ctx context.Context, address, node string, connections int) Seen {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := Seen{Asked: connections, Sets: map[string]int{}, At: time.Now()}
	var mu sync.Mutex
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range connections {
		path := "/"
		if i%2 == 1 {
			path = envoy.ProbeInner
		}
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			answer, err := once(ctx, address, node, path)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if seen.Problem == "" { // what is given up now says nothing
					seen.Problem = err.Error()
				}
				cancel()
				return
			}
			seen.Answered++
			seen.Sets[answer.Set]++
		})
	}
	running.Wait()
	return seen
}

func once(ctx context.Context, address, node, path string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	conn, err := dial(ctx, address)
	if err != nil {
		return Answer{}, plain(err)
	}
	defer func() { _ = conn.Close() }()                                         // it was read to its end, or is of no use
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) }) // it fails of a closed one only
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+envoy.ProbeDomain+path, http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return Answer{}, plain(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return Answer{}, plain(err)
	}
	defer func() { _ = response.Body.Close() }() // the connection ends with it
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, plain(err)
	}
	var answer Answer
	if response.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Set == "" {
		return Answer{}, fmt.Errorf("answered with status %d and no set of kills: want a listener that uses safestate's routes", response.StatusCode)
	}
	if by := response.Header.Get(envoy.ProbeNode); by != node {
		return Answer{}, fmt.Errorf("at %s the proxy %q answers", address, by)
	}
	return answer, nil
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	scheme, rest, _ := strings.Cut(address, "://")
	switch scheme {
	case "unix":
		return d.DialContext(ctx, "unix", rest)
	case "http":
		return d.DialContext(ctx, "tcp", rest)
	case "https":
		t := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} //nolint:gosec // see Ask
		return t.DialContext(ctx, "tcp", rest)
	default:
		return nil, fmt.Errorf("address %q: want http://host:port, https://host:port or unix:///path", address)
	}
}

// plain says what went wrong in few words.
func plain(err error) error {
	if e := (net.Error)(nil); errors.As(err, &e) && e.Timeout() {
		return fmt.Errorf("no answer within %v", Timeout)
	}
	return err
}
