package admin

import (
	"context"
	"io"

	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/release"
)

// Control is what the API stands on. It is safe for concurrent use, and every
// method ends with its context. An error that is a Problem is answered as it is;
// of the others, those of package release and package store have their status,
// and the rest is 500.
type Control interface {
	// Status is how everything is. Its Troubles are those that the rest of it does not
	// show: the API finds the others.
	Status(ctx context.Context) (Status, error)
	// Model is how one model, "namespace/name", stands; see ModelOf. A model
	// that is not known is NotFound.
	Model(ctx context.Context, model string) (Model, error)
	// History is the newest records, newest first. Its cost depends on the limit, not
	// on how many there are.
	History(ctx context.Context, q HistoryQuery) (History, error)
	// Command does what a person asks for and returns the model right after it,
	// with the generation that it made. It returns when the change is durable.
	Command(ctx context.Context, model string, c release.Command) (Model, error)
	// Policy does what a person asks for and returns the policy right after it.
	Policy(ctx context.Context, policy string, c PolicyCommand) (Policy, error)
	// Deregister takes a proxy out of those that are expected, and records it. A
	// connected one is a Conflict, one that nobody knows is NotFound.
	Deregister(ctx context.Context, node string, d Deregistration) error
	KillControl
	// Backup writes all of the store's content, once it is recorded who takes it.
	// An error after the first byte breaks the answer off.
	Backup(ctx context.Context, to audit.Actor, w io.Writer) error
}

// PolicyVerb is what a person asks of a policy.
type PolicyVerb string

// The verbs.
const (
	PolicyRollback PolicyVerb = "rollback" // to an earlier number, and stay there
	PolicyUnpin    PolicyVerb = "unpin"    // follow the file again
)

// PolicyCommand is what a person asks of a policy.
type PolicyCommand struct {
	Do PolicyVerb
	// To is the number that a rollback goes to; 0: the one before.
	To uint64
	// Expect is the number in force that the command was decided on: with another one
	// it is a Conflict. 0: any.
	Expect  uint64
	By      string
	How     string // By was proven
	Address string // that it came from
	Reason  string
}

// Deregistration says who took a proxy out, and why.
type Deregistration struct {
	By      string
	How     string // By was proven
	Address string // that it came from
	Reason  string
}

// HistoryQuery says which records are asked for.
type HistoryQuery struct {
	Model  string // "namespace/name"; empty: all and proxies', or none where Policy is set
	Policy string // "namespace/name"; empty: all, or none where Model is set
	Limit  int    // most records of each kind; 0: DefaultLimit
}

// Limits of one answer of history.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)
