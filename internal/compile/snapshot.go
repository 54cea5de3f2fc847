package compile

import (
	"time"

	"github.com/safestate/safestate/internal/policy"
)

// Snapshot is everything that a proxy is configured from. It is plain data,
// complete (no reference in it dangles) and deterministic: equal objects give
// equal snapshots, whatever files they came from. It is immutable once made.
type Snapshot struct {
	Hosts    []Host    // sorted by Domain
	Routes   []Route   // sorted by Name
	Clusters []Cluster // sorted by Name: every version that a route names, weight 0 included; then policy.ClusterNone, where it has weight
	Models   []Model   // sorted by namespace, then name
	// Inbound are the versions whose own sidecars have a policy, sorted by Name. Only a
	// mesh has them.
	Inbound []Inbound `json:",omitempty"`

	Kills Kills `json:",omitzero"` // of WithKills; zero: nothing was ever killed
}

// Host is one virtual host.
type Host struct {
	Domain string // "*", "a.example.com" or "*.example.com"
	// Entries stand in the precedence of the Gateway API; the first that
	// matches wins. Those of less specific domains that cover Domain are
	// repeated behind its own, as a proxy looks at one virtual host only.
	Entries []Entry
}

// Entry is one match of one route.
type Entry struct {
	Match Match
	Route int // index into Snapshot.Routes
}

// PathType says how Match.Path is compared.
type PathType int

// How a path is compared.
const (
	PathPrefix PathType = iota // by whole elements: /a matches /a and /a/b and not /ab; "/" matches all
	PathExact
	PathRegex // RE2 over the whole path
)

// Match is a conjunction; empty fields match everything.
type Match struct {
	PathType PathType
	Path     string // never empty; "/" where the route names none; PathPrefix has no trailing slash but for "/"
	Method   string // upper case
	Headers  []ValueMatch
	Query    []ValueMatch
	// GRPC: only gRPC calls, told by content-type application/grpc and those that
	// begin with application/grpc+. Path is /service/method then.
	GRPC bool
}

// ValueMatch compares one header or query parameter.
type ValueMatch struct {
	Name  string // headers: lower case
	Value string
	Regex bool // Value is an RE2 expression over the whole value; else compared exactly
}

// Route is one rule of an HTTPRoute or of a GRPCRoute.
type Route struct {
	Name      string // namespace/route/rule, the route label everywhere; an unnamed rule N is called rule-N
	Namespace string
	GRPC      bool // a rule of a GRPCRoute: its clusters speak HTTP/2, its entries match gRPC calls only
	Object    Object

	Backends []Backend // in the rule's order; at least one, or of a mesh's none, where the rule may name none of its versions

	// Beside: of a mesh's GRPCRoute, the rule leads to what is none of Backends too, or
	// does something on the way to one of them. Only the object says what.
	Beside bool `json:",omitempty"`

	RequestHeaders  HeaderEdit
	ResponseHeaders HeaderEdit
	Rewrite         *Rewrite // nil: none
	Session         *Session // nil: every request chooses anew

	// ModelTimeout is what one answer of the model may take; 0 is no limit.
	// Where lateness is enforced on every request it is the policy's deadline
	// less its reserve; in all other cases the HTTPRoute's own timeouts, since
	// a proxy can neither observe nor draw lots. Of an answer that may be a
	// stream (Policy.Stream is set) it bounds the time until the headers.
	ModelTimeout time.Duration
	// OwnTimeout is the shorter of the HTTPRoute's own timeouts; 0: none. It is
	// all that bounds a call that is no inference.
	OwnTimeout time.Duration
	// MaxDuration bounds the whole exchange, a hung processor included, where
	// lateness is enforced on every request: the deadline and Grace, or where an
	// answer may be a stream the longest stream and Grace. It is 0, no limit, in
	// all other cases.
	MaxDuration time.Duration

	Policy     *policy.Policy // nil: no policy, the processor is off for this route
	PolicyJSON string         // Policy as the route's metadata carries it; empty where Policy is nil

	// Generation counts the releases of Policy.Model, or without a policy of the
	// first backend's model; 0: it has had none. It says nothing of another model
	// that the route may name as well.
	Generation uint64
	// Releases sums the generations of every model that the route names: of two divisions
	// of its weights the later one has more. 0: none has had any.
	Releases uint64 `json:",omitempty"`

	// Kill is what a killed route answers with; nil: it is not killed. All weights
	// are 0 where it is set.
	Kill *RouteKill `json:",omitempty"`
	// KillGeneration sums the generations of every target that concerns the route;
	// 0: none was ever killed.
	KillGeneration uint64 `json:",omitempty"`
	// KillMark is a hash of how these targets stand, by which requests show that a
	// proxy has the route as it is now; 0: none was ever killed.
	KillMark uint64 `json:",omitempty"`
}

// Object is the object that a route is a rule of.
type Object struct {
	Kind    string   // config.KindHTTPRoute, or another of its like
	Name    string   // in the route's namespace
	Index   int      // of the rule, from 0
	Rule    string   `json:",omitempty"` // the rule's own name; empty: it has none
	Hosts   []string `json:",omitempty"` // that the object names; none: all
	Matches []string `json:",omitempty"` // names of a VirtualService's matches
	Parents []Parent `json:",omitempty"` // what the object is attached to, in its order
}

// Parent is what an object is attached to, such as a Gateway.
type Parent struct{ Group, Kind, Namespace, Name string }

// Grace is what a proxy adds to a deadline before it cuts the exchange itself,
// so that an answer given at the deadline still goes out.
const Grace = 20 * time.Millisecond

// StreamGrace is Grace of a stream's longest duration, at which the processor
// has an error event to send: Envoy can only break the connection.
const StreamGrace = 2 * time.Second

// Backend is one weighted version of a route.
type Backend struct {
	Cluster string // a Cluster's Name
	Weight  uint32 // 0 to 1,000,000 in files; those of a route sum to less than 2^32, and may all be 0
}

// HeaderEdit changes headers: Set, then Add, then Remove. Names are lower case.
type HeaderEdit struct {
	Set    []Header
	Add    []Header
	Remove []string
}

// Header is one header to write.
type Header struct{ Name, Value string }

// Rewrite changes what the model sees.
type Rewrite struct {
	Hostname string // empty: unchanged
	// FullPath replaces the whole path; Prefix the part that a PathPrefix
	// matched. At most one is not nil; Prefix may point at an empty string.
	FullPath *string
	Prefix   *string
}

// Cluster is one version of one model: where it is and how it is reached.
type Cluster struct {
	Name      string // namespace/model/version, and /grpc after it with HTTP2; the key of policy.Policy.Versions
	Namespace string
	Model     string
	Version   string
	Service   Service // by which routes name it, in Namespace

	// Killed: nothing is sent there, whatever Endpoints say.
	Killed bool `json:",omitempty"`

	Endpoints []policy.Endpoint // at least one, but for policy.ClusterNone
	DNS       bool              // some address is a host name: resolve by DNS, all of them
	HTTP2     bool              // behind a GRPCRoute: HTTP/2 without upgrade, at the ports for gRPC

	TLS *policy.TLS // nil: plain text
	// AuthorizationFile is a file whose content is the value of the
	// Authorization header towards the model; empty: none is added.
	AuthorizationFile string

	ConnectTimeout time.Duration // more than 0
	Limits         Limits
	Outliers       *Outliers    // nil: endpoints are never ejected
	HealthCheck    *HealthCheck // nil: no active checks; always with HTTP2, as a check is a GET
}

// Service is a port of a Service, or of a subset of it.
type Service struct {
	Name   string
	Port   int32
	Subset string `json:",omitempty"`
}

// Limits are what one proxy lets through to one version; 0 is the proxy's own
// default, 65,536.
type Limits struct {
	MaxConnections     uint32
	MaxPendingRequests uint32
	MaxRequests        uint32
	MaxRetries         uint32
}

// Outliers says when an endpoint is left out for a while.
type Outliers struct {
	Consecutive5xx     uint32
	Interval           time.Duration
	BaseEjectionTime   time.Duration
	MaxEjectionPercent uint32
}

// HealthCheck is an active check: GET Path, 200 is healthy.
type HealthCheck struct {
	Path               string
	Interval           time.Duration
	Timeout            time.Duration
	UnhealthyThreshold uint32 // failures in a row
	HealthyThreshold   uint32 // successes in a row
}
