package extproc

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/telemetry"
)

// carried is what a request brings of its route.
type carried struct {
	policy    string
	signature string // empty: none
	route     string // as Envoy names it, without what stands behind a blank; empty: Envoy does not say
}

func carriedBy(from envoyAttributes) carried {
	// One route of ours is several of Envoy's: "a/b/c", "a/b/c (stream)".
	name, _, _ := strings.Cut(from.text(policy.AttributeRoute), " ")
	return carried{policy: from.text(policy.AttributePolicy), signature: from.text(policy.AttributeSignature), route: name}
}

func (c carried) subject() signing.Subject {
	namespace, _, _ := strings.Cut(c.route, "/")
	return signing.Subject{Route: c.route, Namespace: namespace, Policy: c.policy}
}

// gate says which policies may judge here: whoever can dial the processor can
// bring one, and it names endpoints, files and other teams' caches.
//
// A policy that is refused ends the stream, so that Envoy does what the route
// says for a processor that is away: fails closed where the policy enforces on
// every request, and lets the model's answer pass where it does not. Nothing else
// would be right: the policy that would say more is the one that is not trusted.
type gate struct {
	keys *signing.Keys
	// strict: unsigned policies are refused. Where it is false a host without keys
	// takes signed ones as well, as it cannot tell.
	strict  bool
	metrics *telemetry.Metrics
	log     *telemetry.Log

	mu      sync.Mutex
	set     *signing.Set // that refused is of
	refused map[[sha256.Size]byte]*refusedError
	told    map[string]bool // what was logged: cause and route
	latest  [telemetry.RefusalCount]Refusal
}

// Bounds of what the gate remembers. Past the first a refused policy is verified
// with every request, past the second it is logged no more.
const (
	mostRefused = 1000
	mostTold    = 100
)

func newGate(o *Options) *gate {
	g := &gate{keys: o.Keys, strict: o.Signed, metrics: o.Metrics, log: o.Log}
	g.forget(nil)
	return g
}

func (g *gate) forget(set *signing.Set) {
	g.set, g.refused, g.told = set, map[[sha256.Size]byte]*refusedError{}, map[string]bool{}
}

// admission is a signature that was verified once, by the keys that held then.
// It is immutable.
type admission struct {
	set              *signing.Set
	signature, route string
	older            *admission
}

// mostAdmissions is how many a route remembers: one of each key and form of its
// name, and one to spare.
const mostAdmissions = 4

// known reports whether c was admitted before, or needs no signature. It is all
// of this that a request on a busy route meets.
func (g *gate) known(r *route, c *carried) bool {
	set := g.keys.Current()
	if !g.strict && (c.signature == "" || set.Empty()) {
		return true
	}
	for a := r.admitted.Load(); a != nil; a = a.older {
		if a.set == set && a.signature == c.signature && a.route == c.route {
			return true
		}
	}
	return false
}

// admit verifies what is not known. The admission is for the route's to keep; nil:
// none was needed.
func (g *gate) admit(c *carried) (*admission, error) {
	set := g.keys.Current()
	if !g.strict && (c.signature == "" || set.Empty()) {
		return nil, nil
	}
	digest := c.digest()
	if err := g.refusedBefore(set, digest); err != nil {
		return nil, g.count(err, c.route)
	}
	err := set.Verify(c.subject(), c.signature)
	if err == nil {
		return &admission{set: set, signature: c.signature, route: c.route}, nil
	}
	refused := refusalOf(set, c, err)
	g.mu.Lock()
	if g.set == set && len(g.refused) < mostRefused {
		g.refused[digest] = refused
	}
	g.mu.Unlock()
	return nil, g.count(refused, c.route)
}

func (g *gate) refusedBefore(set *signing.Set, digest [sha256.Size]byte) *refusedError {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.set != set {
		g.forget(set)
	}
	return g.refused[digest]
}

func (c *carried) digest() [sha256.Size]byte {
	return sha256.Sum256([]byte(c.signature + "\x00" + c.route + "\x00" + c.policy))
}

// keep notes an admission on a route, in the place of the oldest.
func (r *route) keep(a *admission) {
	for a != nil {
		was := r.admitted.Load()
		if r.admitted.CompareAndSwap(was, a.before(was, mostAdmissions)) {
			return
		}
	}
}

// before is a copy of a with at most n-1 of the others behind it.
func (a *admission) before(others *admission, n int) *admission {
	out := &admission{set: a.set, signature: a.signature, route: a.route}
	if others != nil && n > 1 {
		out.older = others.before(others.older, n-1)
	}
	return out
}

// stands reports whether a route that was admitted once still would be: a key may
// have been given up since.
func (g *gate) stands(r *route) bool {
	if !g.strict {
		return true
	}
	set := g.keys.Current()
	for a := r.admitted.Load(); a != nil; a = a.older {
		if a.set == set {
			return true
		}
	}
	for a := r.admitted.Load(); a != nil; a = a.older {
		c := carried{policy: r.text, signature: a.signature, route: a.route}
		if set.Verify(c.subject(), c.signature) == nil {
			r.keep(&admission{set: set, signature: a.signature, route: a.route})
			return true
		}
	}
	return false
}

// refusedError is why a policy is not used.
type refusedError struct {
	cause telemetry.Refusal
	text  string
}

func (e *refusedError) Error() string { return "safestate: " + e.text }

// GRPCStatus is what Envoy is told.
func (e *refusedError) GRPCStatus() *status.Status {
	return status.New(codes.PermissionDenied, e.Error())
}

func refusalOf(set *signing.Set, c *carried, err error) *refusedError {
	on := ", on route " + orNone(c.route)
	switch {
	case set.Empty():
		return &refusedError{telemetry.RefusedNoKeys, "no key to verify policies by is known here yet" + on}
	case errors.Is(err, signing.ErrUnsigned):
		return &refusedError{telemetry.RefusedUnsigned, err.Error() + on + ": that is taken on loopback and Unix sockets alone"}
	case errors.Is(err, signing.ErrMalformed):
		return &refusedError{telemetry.RefusedMalformed, err.Error() + on}
	case errors.Is(err, signing.ErrUnknownKey):
		return &refusedError{telemetry.RefusedUnknownKey, fmt.Sprintf("%s (known: %s)%s", err, strings.Join(set.IDs(), ", "), on)}
	}
	// It costs a second look, and spares a person a long one.
	if p, bad := policy.Parse(c.policy); bad == nil && p.Route != c.route {
		other := carried{policy: c.policy, signature: c.signature, route: p.Route}
		if set.Verify(other.subject(), c.signature) == nil {
			return &refusedError{telemetry.RefusedOtherRoute, "the policy is signed for route " + p.Route + on}
		}
	}
	return &refusedError{telemetry.RefusedWrong, err.Error() + on}
}

func orNone(route string) string {
	if route == "" {
		return "(Envoy does not say: want the request attribute " + policy.AttributeRoute + ")"
	}
	return route
}

// unusedFor is the cause of an exchange whose policy is not used.
func unusedFor(err error) telemetry.Cause {
	var refused *refusedError
	if errors.As(err, &refused) {
		return telemetry.CausePolicyRefused
	}
	return telemetry.CausePolicyUnreadable
}

// Refusal is how often policies were refused for one cause.
type Refusal struct {
	Cause string    `json:"cause"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
	Route string    `json:"route"` // of the last one, as its Envoy named it
	Error string    `json:"error"` // of the last one
}

// Refusals are those since the start, by cause; none is the normal state.
func (s *Server) Refusals() []Refusal {
	g := s.routes.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Refusal
	for i := range g.latest {
		if g.latest[i].Count > 0 {
			out = append(out, g.latest[i])
		}
	}
	return out
}

// count counts a refusal, and logs it the first time.
func (g *gate) count(err *refusedError, route string) error {
	g.metrics.PolicyRefused(err.cause)
	g.mu.Lock()
	last := &g.latest[err.cause]
	last.Cause, last.Last, last.Route, last.Error = err.cause.String(), time.Now().UTC(), route, err.Error()
	last.Count++
	about := last.Cause + " " + route
	if len(g.told) >= mostTold {
		about = last.Cause
	}
	first := !g.told[about]
	g.told[about] = true
	g.mu.Unlock()
	if first {
		g.log.BadPolicy(err)
	}
	return err
}
