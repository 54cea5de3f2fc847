package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/feed"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signing"
)

// Hosts that run apart are told by the same xDS, with every configuration, what is
// killed and whose policies to take.

// Runtimes are what processors that run apart are told; nil: nothing is killed.
func Runtimes(kills *kill.Set, keys []signing.Public) ([]*runtimev3.Runtime, error) {
	text, err := json.Marshal(kills.Enforced())
	if err != nil {
		return nil, fmt.Errorf("what is killed cannot be told to the hosts: %w", err)
	}
	return []*runtimev3.Runtime{feed.Resource(feed.Kills, string(text)), feed.Resource(feed.PolicyKeys, feed.KeysText(keys))}, nil
}

// trusted are the keys that hosts are to trust now.
func (c *Control) trusted() []signing.Public {
	if c.o.Keys == nil {
		return nil
	}
	return c.o.Keys()
}

// otherKeys reports whether hosts are to trust others than they were handed.
func (c *Control) otherKeys() bool {
	handed := c.handed.Load()
	return handed != nil && !slices.EqualFunc(handed.keys, c.trusted(), signing.Public.Equal)
}

// handedKeys are those that hosts were handed last, and with which configuration.
type handedKeys struct {
	version string
	keys    []signing.Public
}

// HostsWithout are the processors that run apart and may not trust a key, each in a
// line. It waits for nothing that signs.
func (c *Control) HostsWithout(keyID string) (out []string) {
	handed := c.handed.Load()
	if handed == nil || !slices.ContainsFunc(handed.keys, func(k signing.Public) bool { return k.ID == keyID }) {
		if c.o.XDS.ProcessorProof("").Expected > 0 {
			return []string{"processors that run apart: it is not handed to them yet"}
		}
		return nil
	}
	for _, m := range c.o.XDS.ProcessorProof(handed.version).Missing {
		if m.Reason != xds.Unsubscribed {
			out = append(out, "processor "+m.Node+": "+string(m.Reason))
		}
	}
	return out
}

// expect has the ledger expect a proxy, or a processor, that was seen elsewhere.
func (r *register) expect(node string, seen time.Time) {
	if _, processor := feed.Replica(node); processor {
		r.xds.ExpectProcessor(node, seen)
		return
	}
	r.xds.Expect(node, seen)
}

// departed takes out of the list the processors that said here that they go for
// good: no replica is to wait for them.
func (r *register) departed(ctx context.Context) error {
	gone := r.xds.Departed()
	r.mu.Lock()
	next := registered{Seen: maps.Clone(r.list.Seen), Gone: maps.Clone(r.list.Gone), Records: r.list.Records, More: r.list.More}
	revision, news := r.revision, false
	for node, at := range gone {
		if seen, listed := next.Seen[node]; listed && !seen.After(at) {
			delete(next.Seen, node)
			next.Gone[node], news = at.UTC(), true
		}
	}
	r.mu.Unlock()
	if !news {
		return nil
	}
	return r.put(ctx, next, revision, time.Now())
}

// processors are those that run apart and are expected here, for a person who takes
// one out.
func (c *Control) processors() (out []admin.Proxy) {
	for _, x := range c.o.XDS.Proxies() {
		if x.Processor {
			out = append(out, admin.Proxy{Node: x.Node, Connected: x.Connected, Replica: c.o.Replica})
		}
	}
	return out
}
