package admin

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin/adminv1"
)

// Options are what the API is served with.
type Options struct {
	Control Control
	// Keys keeps the keys that sign policies; nil: nobody does.
	Keys Keyring
	// Access says who asks. Default: access.Loopback.
	Access Authenticator
	// Hosts are the names, without a port, by which the API is asked besides
	// those of this machine.
	Hosts []string
	// Trail is the audit trail; nil: there is none to read.
	Trail Trail
	// Attempted hears of what somebody was refused; nil: nobody does. It is called
	// for no more than a hundred of a principal at once, and one each five seconds;
	// what is over that is told each minute as one.
	Attempted func(Attempt)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// API answers by HTTP and by gRPC: the same, and what one has counted or remembers
// the other knows. Safe for concurrent use.
type API struct {
	web web
	rpc rpc
}

// New makes the API. As a handler it serves everything under /v1/.
func New(o Options) *API {
	s := &server{
		control: o.Control, keys: o.Keys, access: o.Access, now: o.Now, trail: o.Trail,
		attempts: newAttempts(o.Attempted),
		limits:   newBuckets(),
		repeats:  newRepeats(),
		backups:  make(chan struct{}, backupsAtOnce),
		watches:  places{all: watchesAtOnce, each: watchesEach},
	}
	s.left, s.leave = context.WithCancel(context.Background())
	if s.access == nil {
		s.access = access.Loopback{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	return &API{newWeb(s, o.Hosts), newRPC(s)}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.web.guard(w, r) }

// Register has the API served by gRPC as well.
func (a *API) Register(g grpc.ServiceRegistrar) { adminv1.RegisterAdminServer(g, a.rpc) }

// Leave ends the streams that wait for a change, which nobody will make here, and
// tells of the attempts that were left out.
func (a *API) Leave() {
	a.rpc.server.leave()
	a.rpc.server.attempts.flush()
}
