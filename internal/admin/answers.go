package admin

import (
	"time"

	"github.com/safestate/safestate/internal/release"
)

// Status is how everything is.
type Status struct {
	Now     time.Time `json:"now"`     // by the replica's clock
	Replica string    `json:"replica"` // that answers
	Build   string    `json:"build"`   // its version of safestate
	// Well: there is no trouble that is a problem.
	Well bool `json:"well"`
	// Troubles are what is not well, problems first.
	Troubles []Trouble `json:"troubles"`

	Leader        Leader        `json:"leader"`
	Store         Store         `json:"store"`
	Configuration Configuration `json:"configuration"`
	Models        []Model       `json:"models"`   // by name
	Proxies       Proxies       `json:"proxies"`  // of all replicas
	Policies      []Policy      `json:"policies"` // by name
	// Kills are what is killed, or on its way back.
	Kills []KillState `json:"kills"`
}

// Trouble is one thing that is not as it should be.
type Trouble struct {
	// Level is problem, or notice: what waits for a person, or is worth knowing.
	Level Level `json:"level"`
	// About is what it is about, such as "default/fraud" or "proxy edge-3".
	About string `json:"about"`
	What  string `json:"what"` // one sentence
	// Since is when it began; absent where that is not known.
	Since time.Time `json:"since,omitzero"`
}

// Level says how bad a trouble is.
type Level string

// The levels.
const (
	LevelProblem Level = "problem"
	LevelNotice  Level = "notice"
)

// Leader is the replica that decides releases.
type Leader struct {
	Replica string `json:"replica,omitempty"` // absent: there is none
	Self    bool   `json:"self"`              // it is the one that answers
}

// Store is how the store is.
type Store struct {
	Engine string `json:"engine"` // what and where, for people
	Well   bool   `json:"well"`
	// Problem and Since say what is wrong, such as "does not answer (…)" or "takes no
	// writes (…)", and from when on.
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Configuration is how the configuration folder is.
type Configuration struct {
	// Applied is when the one in force was read.
	Applied time.Time `json:"applied,omitzero"`
	// Problems are those of the files as they are now; while there are any, the
	// last good configuration is in force.
	Problems []string `json:"problems"`
}

// Proxies are the proxies that get their configuration from safestate: of all
// replicas, those of the others as these say it.
type Proxies struct {
	// Expected are those that a proof needs: seen lately and not deregistered.
	Expected int `json:"expected"`
	Acked    int `json:"acked"` // of them, those that have the newest
	// Refused and Silent name those that do not have it for a reason.
	Refused []string `json:"refused"`
	Silent  []string `json:"silent"`
	Proxies []Proxy  `json:"proxies"` // by node
}

// Proxy is one proxy.
type Proxy struct {
	Node  string     `json:"node"` // its node id
	State ProxyState `json:"state"`
	// Message is Envoy's own, where it refused.
	Message   string    `json:"message,omitempty"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`    // of being connected, or not
	LastSeen  time.Time `json:"lastSeen,omitzero"` // its last word
	Replica   string    `json:"replica,omitempty"` // that it is, or was, connected to
	Version   string    `json:"version,omitempty"` // that it ACKed
}

// ProxyState is a proxy in one word.
type ProxyState string

// The states of a proxy.
const (
	ProxyAcked   ProxyState = "acked"   // it has the newest
	ProxyBehind  ProxyState = "behind"  // it was sent the newest, and has not said
	ProxyRefused ProxyState = "refused" // it refused the newest, and serves what it had
	ProxySilent  ProxyState = "silent"  // it is not connected, and serves what it had
)

// Policy is how one FailSafePolicy stands.
type Policy struct {
	Policy string    `json:"policy"` // "namespace/name"
	Number uint64    `json:"number"` // in force
	Since  time.Time `json:"since,omitzero"`
	By     string    `json:"by,omitempty"` // who made it so
	Mode   string    `json:"mode"`         // Observe or Enforce
	// EnforcePercent of the requests are enforced; 100 where the policy is.
	EnforcePercent float64 `json:"enforcePercent"`
	// Pinned: a rollback holds it, and File is the number of what the file says.
	Pinned bool   `json:"pinned"`
	File   uint64 `json:"file,omitempty"`
	Reason string `json:"reason,omitempty"` // of the pin
	// Gone: the files do not have it any more.
	Gone bool `json:"gone,omitempty"`
	// Observed and Enforced count answers that failed, since Since: those that
	// went through all the same and those that were answered from the ladder.
	Observed uint64 `json:"observed"`
	Enforced uint64 `json:"enforced"`
}

// History is what happened, newest first.
type History struct {
	Records  []release.Record `json:"records"`  // of models
	Policies []PolicyRecord   `json:"policies"` // of policies
	Proxies  []ProxyRecord    `json:"proxies"`  // of proxies
}

// ProxyRecord is what a person did about a proxy.
type ProxyRecord struct {
	Node   string    `json:"node"` // its node id
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"` // deregistered
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// PolicyRecord is one change of a policy.
type PolicyRecord struct {
	Policy string    `json:"policy"` // "namespace/name"
	Number uint64    `json:"number"` // in force after it
	Before uint64    `json:"before,omitempty"`
	At     time.Time `json:"at"`
	// Kind is changed (by its file), rollback, unpinned, or recorded: its file had it
	// while a rollback held another number.
	Kind   string `json:"kind"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	Mode   string `json:"mode,omitempty"`
	// EnforcePercent of the requests were enforced from then on.
	EnforcePercent float64 `json:"enforcePercent,omitempty"`
}

// Done is the answer of a change that has no other.
type Done struct {
	Done bool `json:"done"` // true
}
