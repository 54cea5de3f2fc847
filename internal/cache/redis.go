package cache

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
)

// Defaults of RedisOptions' fields that are 0.
const (
	DefaultDeadline = 5 * time.Millisecond
	DefaultPeriod   = time.Second // Breaker.Recovery
	DefaultPrefix   = "safestate:"
	DefaultBacklog  = 8 << 20
)

// RedisOptions say which Redis is used and what it may cost.
type RedisOptions struct {
	// URL is redis://[user:password@]host[:port][/db], rediss:// for TLS or
	// unix:///path. A password is better kept in PasswordFile.
	URL string
	// PasswordFile holds the password and is read at each connect; it
	// replaces one in the URL.
	PasswordFile string
	// Prefix begins every key.
	Prefix string
	// Deadline bounds each command on the request's path.
	Deadline time.Duration
	// Breaker decides when Redis is not asked. Zero: one failure keeps it
	// unasked for DefaultPeriod, then one request tries again.
	Breaker policy.Breaker
	// MaxEntryBytes bounds one entry's body; a longer value in Redis is a
	// miss and is not read whole.
	MaxEntryBytes int
	// BacklogBytes bounds what waits to be written.
	BacklogBytes int64

	// OnChange is told of the breaker's changes; see breaker.Breaker.OnChange.
	OnChange func(breaker.Change)
	// OnLink is told of the connection: nil when it is made, else why it was
	// lost or could not be made, not twice the same text in a row. It is
	// called on one goroutine. May be nil.
	OnLink func(error)
}

// Redis is a Store that replicas share. Nothing but a command on a live
// connection is ever waited for, and that for at most Deadline:
//
//   - connecting, with its handshake, is a background goroutine's; while there
//     is no connection Get fails at once;
//   - a command that is late, or a connection that breaks, opens the breaker
//     and gives the connection up, so that whoever else waits on it is let go
//     too; a hung Redis accepts new connections but never finishes the
//     handshake, so it is not asked again before it lives;
//   - Set hands over to a background goroutine.
//
// So a dead Redis costs one Deadline per breaker period at most, and one that
// is slow but alive the same.
type Redis struct {
	opt     RedisOptions
	client  rueidis.ClientOption
	breaker *breaker.Breaker
	purged  purges

	link atomic.Pointer[link] // nil: not connected

	ctx    context.Context //nolint:containedctx // the life of the background goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	writes  chan write
	backlog atomic.Int64 // bytes in writes

	mu      sync.Mutex
	pending map[target]time.Time // purges that Redis has not been told of

	hits, misses, mismatches, corrupt, covered atomic.Uint64
	errs, sets, setErrors, asked, refused      atomic.Uint64
}

// write is an entry on its way to Redis.
type write struct {
	name  string
	value []byte
	ttl   time.Duration
}

// maxWrites bounds the entries that wait to be written, beside their bytes.
const maxWrites = 1024

// valueOverhead is what a value may take beside the body: key, headers, names.
const valueOverhead = 64 << 10

// NewRedis returns a store and starts connecting in the background; an error
// means that the URL cannot be read. Close stops it.
func NewRedis(opt RedisOptions) (*Redis, error) { return newRedis(opt, nil) }

// newRedis takes the breaker's clock as well; nil is time.Now.
func newRedis(opt RedisOptions, now func() time.Time) (*Redis, error) {
	client, err := clientOption(&opt)
	if err != nil {
		return nil, err
	}
	if opt.Deadline <= 0 {
		opt.Deadline = DefaultDeadline
	}
	if opt.Prefix == "" {
		opt.Prefix = DefaultPrefix
	}
	if opt.MaxEntryBytes <= 0 {
		opt.MaxEntryBytes = DefaultMaxEntryBytes
	}
	if opt.BacklogBytes <= 0 {
		opt.BacklogBytes = DefaultBacklog
	}
	if opt.Breaker == (policy.Breaker{}) {
		opt.Breaker = policy.Breaker{Failures: 1, Recovery: policy.Duration(DefaultPeriod), HalfOpenRequests: 1}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Redis{
		opt: opt, client: client, breaker: breaker.New(opt.Breaker, now),
		ctx: ctx, cancel: cancel, writes: make(chan write, maxWrites), pending: map[target]time.Time{},
	}
	if opt.OnChange != nil {
		r.breaker.OnChange(opt.OnChange)
	}
	r.wg.Go(r.connect)
	r.wg.Go(r.write)
	return r, nil
}

// Close stops the background goroutines; entries that wait to be written are
// dropped. Later Gets and Sets fail.
func (r *Redis) Close() {
	r.cancel()
	r.wg.Wait()
}

// Breaker is Redis's own breaker, for status and for a person's hand.
func (r *Redis) Breaker() *breaker.Breaker { return r.breaker }

// Connected reports whether there is a connection now.
func (r *Redis) Connected() bool { return r.link.Load() != nil }

// Get implements Store.
func (r *Redis) Get(ctx context.Context, key Key) (Entry, bool, error) {
	var value string
	var purgedAt []rueidis.RedisMessage // see tellPurges
	err := r.ask(ctx, func(ctx context.Context, c rueidis.Client) error {
		b := c.B()
		got := c.DoMulti(ctx,
			b.Getrange().Key(r.entryName(key)).Start(0).End(int64(r.opt.MaxEntryBytes+valueOverhead)).Build(),
			b.Zmscore().Key(r.opt.Prefix+purgesKey).Member(target{key.model, key.version}.name(), target{key.model, ""}.name()).Build(),
		)
		var err, perr error
		value, err = got[0].ToString()
		purgedAt, perr = got[1].ToArray()
		return errors.Join(err, perr)
	})
	if err != nil {
		r.errs.Add(1)
		return Entry{}, false, err
	}
	e, ok := r.judge(value, purgedAt, key)
	return e, ok, nil
}

// judge says whether a value is the key's entry, and counts.
func (r *Redis) judge(value string, purgedAt []rueidis.RedisMessage, key Key) (Entry, bool) {
	if value == "" {
		r.misses.Add(1)
		return Entry{}, false
	}
	e, err := readEntry([]byte(value), key)
	switch {
	case errors.Is(err, errMismatch):
		r.mismatches.Add(1)
	case err != nil:
		r.corrupt.Add(1)
	case r.purged.covers(&e) || purgedBefore(purgedAt, e.Stored):
		r.covered.Add(1)
	default:
		r.hits.Add(1)
		return e, true
	}
	r.misses.Add(1)
	return Entry{}, false
}

// purgedBefore reads the marks that Purge wrote. One that cannot be read
// covers everything: a purge is never overlooked.
func purgedBefore(marks []rueidis.RedisMessage, stored time.Time) bool {
	for i := range marks {
		if marks[i].IsNil() {
			continue
		}
		at, err := marks[i].AsFloat64()
		if err != nil || !(float64(stored.UnixMilli()) > at) {
			return true
		}
	}
	return false
}

// Set implements Store: it hands the entry over and returns.
func (r *Redis) Set(_ context.Context, key Key, e Entry, ttl time.Duration) error {
	switch {
	case len(e.Body) > r.opt.MaxEntryBytes:
		return r.notSet(ErrTooLarge)
	case r.ctx.Err() != nil:
		return r.notSet(ErrClosed)
	}
	ttl = min(ttl, MaxTTL)
	if ttl <= 0 {
		return nil
	}
	if r.link.Load() == nil {
		r.refused.Add(1)
		return r.notSet(ErrAway)
	}
	value := appendEntry(make([]byte, 0, len(e.Body)+len(key.full)+256), key, e)
	if len(value) > r.opt.MaxEntryBytes+valueOverhead {
		return r.notSet(ErrTooLarge)
	}
	if r.backlog.Add(int64(len(value))) > r.opt.BacklogBytes {
		r.backlog.Add(-int64(len(value)))
		return r.notSet(ErrBacklog)
	}
	select {
	case r.writes <- write{r.entryName(key), value, ttl}:
		return nil
	default:
		r.backlog.Add(-int64(len(value)))
		return r.notSet(ErrBacklog)
	}
}

func (r *Redis) notSet(why error) error {
	r.setErrors.Add(1)
	return why
}

// write writes what Set has handed over, one after the other.
func (r *Redis) write() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case w := <-r.writes:
			err := r.ask(r.ctx, func(ctx context.Context, c rueidis.Client) error {
				return c.Do(ctx, c.B().Set().Key(w.name).Value(rueidis.BinaryString(w.value)).Px(w.ttl).Build()).Error()
			})
			r.backlog.Add(-int64(len(w.value)))
			if err != nil {
				r.setErrors.Add(1)
			} else {
				r.sets.Add(1)
			}
		}
	}
}

// Purge implements Store. This replica heeds it at once. The others do once
// Redis has it: where an error is returned it has not yet, and will be told
// as soon as it is back.
func (r *Redis) Purge(ctx context.Context, model, version string) error {
	t := target{model, version}
	at := r.purged.add(t, time.Now())
	r.mu.Lock()
	r.pending[t] = at
	r.mu.Unlock()
	l := r.link.Load()
	if l == nil {
		return fmt.Errorf("%w: the purge of %s %s is kept for it", ErrAway, model, version)
	}
	return r.tellPurges(ctx, l)
}

// purgesKey is a sorted set of what was purged: until when, in Unix
// milliseconds, which a score holds exactly.
const purgesKey = "purged"

// tellPurges writes the marks of purges that Redis does not have yet. A mark
// never goes back: of two replicas' the later stays, even if the earlier is
// told an hour late. The set is forgotten when the last entry that it could
// concern has expired.
func (r *Redis) tellPurges(ctx context.Context, l *link) error {
	r.mu.Lock()
	todo := maps.Clone(r.pending)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for t, at := range todo {
		b, key := l.client.B(), r.opt.Prefix+purgesKey
		for _, reply := range l.client.DoMulti(ctx,
			b.Zadd().Key(key).Gt().ScoreMember().ScoreMember(float64(at.UnixMilli()), t.name()).Build(),
			b.Pexpire().Key(key).Milliseconds(MaxTTL.Milliseconds()+PurgeMargin.Milliseconds()).Build(),
		) {
			if err := reply.Error(); err != nil {
				return fmt.Errorf("cache: the purge of %s %s is kept until Redis takes it: %w", t.model, t.version, err)
			}
		}
		r.mu.Lock()
		if r.pending[t].Equal(at) {
			delete(r.pending, t)
		}
		r.mu.Unlock()
	}
	return nil
}

func (r *Redis) entryName(k Key) string {
	return r.opt.Prefix + "a:" + base64.RawURLEncoding.EncodeToString(k.hash[:])
}

// Stats returns the counts for metrics.
func (r *Redis) Stats() Stats {
	return Stats{
		Hits: r.hits.Load(), Misses: r.misses.Load(), Mismatches: r.mismatches.Load(), Corrupt: r.corrupt.Load(),
		Purged: r.covered.Load(), Errors: r.errs.Load(), Sets: r.sets.Load(), SetErrors: r.setErrors.Load(),
		Asked: r.asked.Load(), Refused: r.refused.Load(),
	}
}

// CheckURL says what is wrong with a Redis URL; nil: nothing.
func CheckURL(url string) error {
	_, err := clientOption(&RedisOptions{URL: url})
	return err
}

// clientOption reads the URL. Sentinel and cluster are not offered: a cache
// needs neither.
func clientOption(opt *RedisOptions) (rueidis.ClientOption, error) {
	c, err := rueidis.ParseURL(opt.URL)
	if err != nil {
		// The URL may hold a password, and so may the error of its parser.
		return c, errors.New("cache: the Redis URL cannot be read; want redis://host:port/db, rediss:// or unix:///path")
	}
	if len(c.InitAddress) != 1 || strings.TrimSpace(c.InitAddress[0]) == "" {
		return c, errors.New("cache: the Redis URL names no address, or several")
	}
	c.Sentinel = rueidis.SentinelOption{}
	c.ForceSingleClient = true
	c.DisableRetry = true
	c.DisableCache = true
	c.PipelineMultiplex = -1 // one connection
	c.RingScaleEachConn = 8  // 256 commands may wait; by default 1024 slots are allocated
	c.ReadBufferEachConn = 64 << 10
	c.WriteBufferEachConn = 64 << 10
	c.ClientName = "safestate"
	c.ClientSetInfo = rueidis.DisableClientSetInfo
	c.Dialer.Timeout = connectTimeout
	c.Dialer.KeepAlive = idlePing
	c.ConnWriteTimeout = connectTimeout
	return c, nil
}
