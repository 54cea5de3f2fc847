package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/safestate/safestate/internal/breaker"
)

// How the connection to Redis is kept.
const (
	connectTimeout = time.Second            // dial and handshake, each
	idlePing       = 5 * time.Second        // an idle connection is looked at this often
	firstBackoff   = 20 * time.Millisecond  // before connecting again
	mostBackoff    = 2 * time.Second        // doubling up to this
	steady         = 500 * time.Millisecond // a connection that lasted this long starts the back-off anew
)

var errLost = errors.New("cache: the connection to Redis is lost")

// link is one connection. The rueidis client inside would dial again by itself,
// on the path of whichever request comes next and with everybody else waiting
// for it whatever their deadline; so it may dial once, and is given up with
// its connection.
type link struct {
	client rueidis.Client
	dialed atomic.Bool
	lost   chan struct{} // closed with the connection
	once   sync.Once

	mu   sync.Mutex
	conn net.Conn // nil: not dialed, or closed
}

// watched tells its link when it is closed, by whomever.
type watched struct {
	net.Conn
	l *link
}

func (w watched) Close() error {
	err := w.Conn.Close()
	w.l.once.Do(func() { close(w.l.lost) })
	return err
}

// cut closes the connection: who waits on it is let go at once.
func (l *link) cut() {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // it is given up
	}
}

// connect keeps a connection until Close.
func (r *Redis) connect() {
	backoff, told := firstBackoff, ""
	tell := func(err error) {
		text := ""
		if err != nil {
			text = err.Error()
		}
		if r.opt.OnLink != nil && r.ctx.Err() == nil && (text == "" || text != told) {
			r.opt.OnLink(err)
		}
		told = text
	}
	for r.ctx.Err() == nil {
		l, err := r.dial()
		if err != nil {
			tell(err)
		} else {
			began := time.Now()
			r.serve(l, func() { tell(nil) })
			tell(errLost)
			if time.Since(began) > steady {
				backoff = firstBackoff
			}
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, mostBackoff)
	}
}

// serve offers a connection to requests until it is lost.
func (r *Redis) serve(l *link, offered func()) {
	r.link.Store(l)
	offered()
	if err := r.tellPurges(r.ctx, l); err != nil && !replied(err) {
		l.cut()
	}
	select {
	case <-r.ctx.Done():
	case <-l.lost:
	}
	r.link.CompareAndSwap(l, nil)
	l.cut()
	l.client.Close()
}

// dial connects and shakes hands.
func (r *Redis) dial() (*link, error) {
	l := &link{lost: make(chan struct{})}
	opt := r.client
	if r.opt.PasswordFile != "" {
		text, err := os.ReadFile(r.opt.PasswordFile)
		if err != nil {
			return nil, err
		}
		opt.Password = strings.TrimSpace(string(text))
	}
	inner := opt.DialCtxFn // set for Unix sockets
	opt.DialCtxFn = func(_ context.Context, addr string, d *net.Dialer, conf *tls.Config) (net.Conn, error) {
		if !l.dialed.CompareAndSwap(false, true) {
			return nil, errLost
		}
		ctx, cancel := context.WithTimeout(r.ctx, connectTimeout)
		defer cancel()
		conn, err := dialAny(ctx, inner, addr, d, conf)
		if err != nil {
			return nil, err
		}
		w := watched{conn, l}
		l.mu.Lock()
		l.conn = w
		l.mu.Unlock()
		return w, nil
	}
	// The handshake heeds no context of ours: Close cuts it off.
	stop := context.AfterFunc(r.ctx, l.cut)
	defer stop()
	client, err := rueidis.NewClient(opt)
	if err != nil {
		if client != nil {
			client.Close()
		}
		l.cut()
		return nil, err
	}
	l.client = client
	return l, nil
}

type dialer func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)

func dialAny(ctx context.Context, inner dialer, addr string, d *net.Dialer, conf *tls.Config) (net.Conn, error) {
	switch {
	case inner != nil:
		return inner(ctx, addr, d, conf)
	case conf != nil:
		return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, "tcp", addr)
	default:
		return d.DialContext(ctx, "tcp", addr)
	}
}

// ask runs commands on the connection there is, for at most the deadline, if
// the breaker lets it.
func (r *Redis) ask(ctx context.Context, do func(context.Context, rueidis.Client) error) error {
	l := r.link.Load()
	if l == nil {
		r.refused.Add(1)
		return ErrAway
	}
	permit, ok := r.breaker.Allow()
	if !ok {
		r.refused.Add(1)
		return ErrAway
	}
	r.asked.Add(1)
	began := time.Now()
	own, cancel := context.WithTimeout(ctx, r.opt.Deadline)
	defer cancel()
	err := do(own, l.client)
	took := time.Since(began)
	outcome := r.outcomeOf(ctx, err, took)
	permit.Done(outcome, took)
	if outcome == breaker.Failure {
		r.link.CompareAndSwap(l, nil)
		l.cut()
	}
	return err
}

// outcomeOf says what an error says of Redis. A reply is an answer, even where
// it is an error (still loading, out of memory). A caller who leaves says
// nothing; one whose own deadline is over says something if Redis had a good
// part of its own.
func (r *Redis) outcomeOf(ctx context.Context, err error, took time.Duration) breaker.Outcome {
	if err == nil {
		return breaker.Success
	}
	if replied(err) {
		return breaker.Success
	}
	if ctx.Err() != nil && took < r.opt.Deadline/4 || errors.Is(ctx.Err(), context.Canceled) {
		return breaker.Ignored
	}
	return breaker.Failure
}

// replied reports whether an error is Redis's own reply.
func replied(err error) bool {
	var reply *rueidis.RedisError
	return errors.As(err, &reply)
}
