package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// KillControl is what the API of kills stands on. It is safe for concurrent use.
type KillControl interface {
	// Kill stops a target. Where it returns a Killed that is not zero the kill is
	// in force, with an error too: that says what is missing of a whole one.
	Kill(ctx context.Context, t kill.Target, o kill.Order) (Killed, error)
	// Revive gives a target its traffic back, or asks a second person to approve.
	Revive(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error)
	// Approve is that second person's.
	Approve(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error)
	// Kills is everything that was ever killed, sorted.
	Kills() []kill.State
	// KillProof is what is proven of a target's present generation.
	KillProof(t kill.Target) KillProof
}

// KillRequest stops a target.
type KillRequest struct {
	// Target is "all", "model/NAMESPACE/NAME", "version/NAMESPACE/NAME/VERSION" or
	// "route/NAMESPACE/ROUTE/RULE". Required.
	Target string `json:"target"`
	// Mode is degrade (the ladder answers), default (Envoy alone answers) or
	// blackhole (a plain 503). Default: degrade.
	Mode string `json:"mode,omitempty"`
	// Reason for the audit trail. Required.
	Reason string `json:"reason"`
}

// ReviveRequest gives a target its traffic back.
type ReviveRequest struct {
	// Target as in a kill. Required.
	Target string `json:"target"`
	// Generation is the target's as the person saw it: of another it is refused.
	// Required.
	Generation uint64 `json:"generation"`
	// Reason for the audit trail. Required.
	Reason string `json:"reason"`
	// Ramp is how long it takes until all traffic is back. Default: none.
	Ramp release.Duration `json:"ramp,omitempty"`
}

// ApproveRequest is a second person's approval of a revive.
type ApproveRequest struct {
	// Target as in a kill. Required.
	Target string `json:"target"`
	// Generation is the target's as the person saw it: of another it is refused.
	// Required.
	Generation uint64 `json:"generation"`
	// Ask is the number of what is asked for, as the person saw it: another one is not
	// approved. Required.
	Ask uint64 `json:"ask"`
	// Reason for the audit trail. Required.
	Reason string `json:"reason"`
}

// KillState is how one target stands.
type KillState struct {
	Target     string    `json:"target"` // its key, as in a request
	Killed     bool      `json:"killed"`
	Mode       kill.Mode `json:"mode,omitempty"`
	Generation uint64    `json:"generation"`
	Since      time.Time `json:"since,omitzero"`
	By         string    `json:"by,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	// Percent is what gets through while a ramp lasts; 0 while killed.
	Percent int `json:"percent"`
	// Asked is a revive that waits for a second person, for an hour.
	Asked *AskedRevive `json:"asked,omitempty"`
}

// AskedRevive waits for a second person.
type AskedRevive struct {
	// Number is what the approval names; one that is asked for anew has another.
	Number uint64           `json:"number"`
	At     time.Time        `json:"at"`
	By     string           `json:"by"`
	Reason string           `json:"reason"`
	Ramp   release.Duration `json:"ramp,omitempty"`
}

// KillStateOf tells of a target's state at a time.
func KillStateOf(s kill.State, now time.Time) KillState {
	out := KillState{
		Target: s.Target.Key(), Killed: s.Killed, Generation: s.Generation, Since: s.Since, By: s.By, Reason: s.Reason,
	}
	if s.Killed {
		out.Mode = s.Mode
	} else {
		out.Percent, _ = s.Ramp.Percent(now)
	}
	if a := s.Asked; a.Open(now) {
		out.Asked = &AskedRevive{a.Number, a.At, a.By, a.Reason, release.Duration(a.Ramp)}
	}
	return out
}

// Killed is the answer to a kill.
type Killed struct {
	State KillState `json:"state"`
	// Durability is where the kill is: "store", "local copy" or "memory".
	Durability string `json:"durability"`
	// Warning says what is missing of a whole kill; it is in force.
	Warning string `json:"warning,omitempty"`
}

// KillList is everything that was ever killed.
type KillList struct {
	// Generation is the sum of all: it grows with every change.
	Generation uint64      `json:"generation"`
	Kills      []KillState `json:"kills"`
}

// KillProof says what is proven of a target's present generation.
type KillProof struct {
	State KillState `json:"state"`
	// Set names the kills that are in force: what proxies are held against.
	Set string    `json:"set"`
	At  time.Time `json:"at"`
	// Complete: every expected proxy and processor is proven.
	Complete bool `json:"complete"`
	Expected int  `json:"expected"`
	Proven   int  `json:"proven"`
	// Rows are the expected proxies and processors, those that are not proven
	// first.
	Rows []KillRow `json:"rows"`
}

// KillRow is one expected proxy, or processor.
type KillRow struct {
	Node    string   `json:"node"`
	Kind    string   `json:"kind"`              // proxy or processor
	Replica string   `json:"replica,omitempty"` // that it is connected to
	State   KillStep `json:"state"`
	// How it is proven, or what is missing.
	How string `json:"how"`
	// InFlight is how many requests to what is killed a processor waits for still.
	InFlight int `json:"inFlight,omitempty"`
}

// KillStep is how far a kill has come at a proxy or processor.
type KillStep string

// The steps.
const (
	StepProven  KillStep = "proven"  // what traffic shows
	StepAcked   KillStep = "acked"   // it has taken the change; not proven
	StepPushed  KillStep = "pushed"  // it was told
	StepRefused KillStep = "refused" // it keeps what it had
	StepSilent  KillStep = "silent"  // it is cut off, and may still send requests
)

// killRoutes are those of the API that are about kills. What a change is done to is
// in its body: its handler asks whether the principal may.
var killRoutes = []route{
	{method: "GET", path: "/v1/kills", rpc: "Kills", action: access.Read, target: overview, answer: KillList{}, serve: kills},
	{method: "GET", path: "/v1/kills/proof", rpc: "KillProof", action: access.Read, target: overview, params: []string{"target"}, answer: KillProof{}, serve: killProof},
	{method: "POST", path: "/v1/kill", rpc: "Kill", action: access.Kill, rate: killRate, anew: true, body: KillRequest{}, answer: Killed{}, serve: killTarget},
	{method: "POST", path: "/v1/revive", rpc: "Revive", action: access.Revive, body: ReviveRequest{}, answer: KillState{}, serve: revive},
	{method: "POST", path: "/v1/approve", rpc: "Approve", action: access.Approve, body: ApproveRequest{}, answer: KillState{}, serve: approve},
}

// accessTarget is what a kill's target is to package access.
// AccessTarget is what a target of a kill is to who may do what.
func AccessTarget(t kill.Target) access.Target {
	switch t.Scope {
	case kill.Model, kill.Version:
		return access.Model(t.Model())
	case kill.Route:
		return access.Route(t.Name)
	default:
		return access.Everything()
	}
}

// allowed says whether the principal may do this to a target.
func (c *call) allowed(a access.Action, t kill.Target) error {
	if err := access.Authorize(c.principal, a, AccessTarget(t)); err != nil {
		return refused(err)
	}
	return nil
}

// targetOf reads a target's key.
func targetOf(text string) (kill.Target, error) {
	if text == "" {
		return kill.Target{}, Invalid("target", "is missing").Hinted("want all, model/NAMESPACE/NAME, version/NAMESPACE/NAME/VERSION or route/NAMESPACE/ROUTE/RULE")
	}
	t, err := kill.ParseKey(text)
	if err != nil {
		return t, Invalid("target", "%s", err)
	}
	return t, nil
}

func kills(_ context.Context, c *call) (any, error) {
	now := c.server.now().UTC()
	out := KillList{Kills: []KillState{}}
	for _, s := range c.server.control.Kills() {
		if s.Target.Scope != kill.All && c.allowed(access.Read, s.Target) != nil {
			continue // that everything is killed concerns everybody
		}
		out.Generation += s.Generation
		out.Kills = append(out.Kills, KillStateOf(s, now))
	}
	return out, nil
}

func killProof(_ context.Context, c *call) (any, error) {
	t, err := targetOf(c.params["target"])
	if err != nil {
		return nil, err
	}
	if t.Scope != kill.All {
		if err := c.allowed(access.Read, t); err != nil {
			return nil, err
		}
	}
	p := c.server.control.KillProof(t)
	p.Rows = list(p.Rows)
	slices.SortStableFunc(p.Rows, func(x, y KillRow) int {
		return cmp.Or(cmp.Compare(provenLast(x), provenLast(y)), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Node, y.Node))
	})
	return p, nil
}

func provenLast(r KillRow) int {
	if r.State == StepProven {
		return 1
	}
	return 0
}

func killTarget(ctx context.Context, c *call) (any, error) {
	var r KillRequest
	if err := decode(c.body, &r); err != nil {
		return nil, err
	}
	t, err := targetOf(r.Target)
	if err != nil {
		return nil, err
	}
	c.about = t.Key()
	if err := c.allowed(access.Kill, t); err != nil {
		return nil, err
	}
	mode := kill.Mode(cmp.Or(r.Mode, string(kill.Degrade)))
	if err := mode.Validate(); err != nil {
		return nil, Invalid("mode", "is %q; want degrade, default or blackhole", r.Mode)
	}
	if err := killReasonOf(r.Reason); err != nil {
		return nil, err
	}
	killed, err := c.server.control.Kill(ctx, t, kill.Order{ID: c.id(), At: c.server.now().UTC(), By: c.by(), How: c.principal.How, Address: c.principal.Address, Reason: r.Reason, Mode: mode})
	if killed.State.Killed && err != nil { // it is in force: that is what matters
		killed.Warning, err = err.Error(), nil
	}
	if s := killed.State; err == nil && !s.Killed { // nobody may take it for one that is in force
		err = Conflict(s.Generation, "this kill was made before, and undone since by %s: %s", s.By, s.Reason).
			Hinted("to kill again use a new %s", idempotencyHeader)
	}
	return killed, err
}

// killReasonOf checks a reason that goes into a kill's state, which has bounds.
func killReasonOf(reason string) error {
	if err := reasonOf(reason); err != nil || len(reason) <= kill.MaxReason {
		return err
	}
	return Invalid("reason", "is longer than %d bytes", kill.MaxReason)
}

// by is who asks, as far as a kill's state has room: nobody is kept from a kill by a
// long name.
func (c *call) by() string {
	name := c.principal.Name
	if len(name) <= kill.MaxName {
		return name
	}
	return strings.ToValidUTF8(name[:kill.MaxName-len("…")], "") + "…"
}

// id tells this request from every other: one that is sent again, which its key
// shows, has the same. Without a key each is a kill of its own.
func (c *call) id() string {
	if c.key == "" {
		return rand.Text()
	}
	sum := sha256.Sum256([]byte(c.principal.Name + "\x00" + c.key))
	return hex.EncodeToString(sum[:])
}

func revive(ctx context.Context, c *call) (any, error) {
	var r ReviveRequest
	if err := decode(c.body, &r); err != nil {
		return nil, err
	}
	t, request, err := c.asked(access.Revive, r.Target, r.Generation, r.Reason)
	if err != nil {
		return nil, err
	}
	request.Ramp = time.Duration(r.Ramp)
	if request.Ramp < 0 || request.Ramp > kill.MaxRamp {
		return nil, Invalid("ramp", "is %s; want 0s to %s", r.Ramp, kill.MaxRamp)
	}
	request.Second = c.server.access.Approvals(AccessTarget(t)) > 0
	return c.stateOf(c.server.control.Revive(ctx, t, request))
}

func approve(ctx context.Context, c *call) (any, error) {
	var r ApproveRequest
	if err := decode(c.body, &r); err != nil {
		return nil, err
	}
	t, request, err := c.asked(access.Approve, r.Target, r.Generation, r.Reason)
	if err != nil {
		return nil, err
	}
	if request.Ask = r.Ask; r.Ask == 0 {
		return nil, Invalid("ask", "is missing").Hinted("want the number that `safestate status` shows")
	}
	return c.stateOf(c.server.control.Approve(ctx, t, request))
}

func (c *call) asked(action access.Action, target string, generation uint64, reason string) (kill.Target, kill.Request, error) {
	t, err := targetOf(target)
	if err != nil {
		return t, kill.Request{}, err
	}
	c.about = t.Key()
	if err := c.allowed(action, t); err != nil {
		return t, kill.Request{}, err
	}
	if generation == 0 {
		return t, kill.Request{}, Invalid("generation", "is missing").Hinted("want the generation that `safestate status` shows")
	}
	return t, kill.Request{At: c.server.now().UTC(), By: c.by(), Person: c.principal.Person, How: c.principal.How, Address: c.principal.Address, Reason: reason, Generation: generation}, killReasonOf(reason)
}

func (c *call) stateOf(s kill.State, err error) (any, error) {
	if errors.Is(err, kill.ErrRefused) {
		return nil, Conflict(s.Generation, "%s", err)
	}
	if err != nil {
		return nil, err
	}
	return KillStateOf(s, c.server.now().UTC()), nil
}
