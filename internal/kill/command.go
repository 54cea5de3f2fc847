package kill

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// ErrRefused is what a revive fails with that another state would accept.
var ErrRefused = errors.New("refused")

// Order is a kill.
type Order struct {
	// ID tells this kill from every other: one that comes twice is one kill, even
	// where the target was revived in between.
	ID        string
	At        time.Time
	By        string
	How       string // By was proven; empty: it was not, or nobody asked
	Address   string // that it came from
	Replica   string // that takes it
	Reason    string
	Mode      Mode // empty: Degrade
	Automatic bool
	Evidence  string // of an automatic one
}

// Validate says what is wrong with an order; nil: nothing.
func (o Order) Validate() error {
	if o.Mode != "" {
		if err := o.Mode.Validate(); err != nil {
			return err
		}
	}
	if o.ID == "" || len(o.ID) > MaxName {
		return fmt.Errorf("a kill needs an id of 1 to %d bytes", MaxName)
	}
	return errors.Join(person(o.By), reason(o.Reason))
}

func person(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("who does it is not told: want 1 to %d bytes", MaxName)
	}
	return nil
}

func reason(text string) error {
	if text == "" || len(text) > MaxReason || !utf8.ValidString(text) {
		return fmt.Errorf("reason: want 1 to %d bytes of text that say why", MaxReason)
	}
	return nil
}

// Kill kills the target: in every state, also one that it is killed in already,
// whose mode becomes this one's. A revive that waits for approval is void. An
// order that the state has seen changes nothing, and neither does an automatic one
// for what is killed, or was revived after it was given: what a person has chosen
// stays. The order is valid.
func Kill(s State, o Order) State {
	if slices.Contains(s.Seen, o.ID) || o.Automatic && (s.Killed || s.Since.After(o.At)) {
		return s
	}
	if o.Mode == "" {
		o.Mode = Degrade
	}
	s = s.see(o.ID)
	s.Generation++
	s.Killed, s.Mode, s.Since, s.By, s.Reason = true, o.Mode, o.At, o.By, o.Reason
	s.Ramp, s.Asked = nil, nil
	return s.record(Record{
		At: o.At, Kind: KindKill, ID: o.ID, By: o.By, How: o.How, Address: o.Address, Replica: o.Replica, Reason: o.Reason, Mode: o.Mode, Automatic: o.Automatic, Evidence: o.Evidence,
	})
}

// Request is a revive, or the approval of one.
type Request struct {
	At time.Time
	By string
	// Person stands behind By: two names of one person have the same. Empty: By
	// does.
	Person  string
	How     string // By was proven
	Address string // that it came from
	Replica string
	Reason  string // of a revive
	// Generation is the one that the person saw: of another nothing is revived.
	Generation uint64
	Ask        uint64        // of an approval: the number of what is approved, as the person saw it
	Ramp       time.Duration // 0: all traffic at once
	// Second: it takes another person's approval.
	Second bool
}

// Validate says what is wrong with a revive; nil: nothing.
func (r Request) Validate() error {
	if r.Ramp != 0 {
		if err := (&Ramp{Over: r.Ramp}).Validate(); err != nil {
			return err
		}
	}
	return errors.Join(person(r.By), reason(r.Reason))
}

// Asked is a revive that waits for a second person.
type Asked struct {
	// Number tells it from every other that was asked for the target.
	Number  uint64        `json:"number"`
	At      time.Time     `json:"at"`
	By      string        `json:"by"`
	Person  string        `json:"person"`
	How     string        `json:"how,omitempty"`     // By was proven
	Address string        `json:"address,omitempty"` // that it came from
	Reason  string        `json:"reason"`
	Ramp    time.Duration `json:"rampNanoseconds,omitempty"`
}

// AskedFor is how long a second person may approve what was asked: who asked knew
// how things were then.
const AskedFor = time.Hour

// Open reports whether it may still be approved; nil: nothing is asked for.
func (a *Asked) Open(now time.Time) bool { return a != nil && now.Sub(a.At) < AskedFor }

// Revive gives the target its traffic back, or where a second person is needed
// asks for it; one that is asked for takes the place of an earlier one. It is
// refused where the target is not killed, or killed anew since.
func Revive(s State, r Request) (State, error) {
	if err := expect(s, r.Generation); err != nil {
		return s, err
	}
	if r.Second {
		s.Asked = &Asked{Number: s.Sequence + 1, At: r.At, By: r.By, Person: cmp.Or(r.Person, r.By), How: r.How, Address: r.Address, Reason: r.Reason, Ramp: r.Ramp}
		return s.record(Record{At: r.At, Kind: KindAsked, By: r.By, How: r.How, Address: r.Address, Replica: r.Replica, Reason: r.Reason, Ramp: rampOf(r.At, r.Ramp)}), nil
	}
	return s.revive(r), nil
}

func expect(s State, generation uint64) error {
	switch {
	case !s.Killed:
		return fmt.Errorf("%w: %s is not killed", ErrRefused, s.Target)
	case s.Generation != generation:
		return fmt.Errorf("%w: %s is at generation %d and not %d: it was killed anew by %s: %s", ErrRefused, s.Target, s.Generation, generation, s.By, s.Reason)
	}
	return nil
}

// revive is by who asked for it.
func (s State) revive(r Request) State {
	s.Generation++
	s.Killed, s.Since, s.By, s.Reason, s.Asked = false, r.At, r.By, r.Reason, nil
	s.Ramp = rampOf(r.At, r.Ramp)
	return s.record(Record{
		At: r.At, Kind: KindRevive, By: r.By, How: r.How, Address: r.Address, Replica: r.Replica, Reason: r.Reason, Mode: s.Mode, Ramp: s.Ramp,
	})
}

func rampOf(at time.Time, over time.Duration) *Ramp {
	if over <= 0 {
		return nil
	}
	return &Ramp{at, over}
}

// Approve revives what another person asked to: nobody approves what they asked
// for themselves.
func Approve(s State, r Request) (State, error) {
	if err := expect(s, r.Generation); err != nil {
		return s, err
	}
	a := s.Asked
	switch {
	case a == nil:
		return s, fmt.Errorf("%w: nobody has asked to revive %s: ask first, then have a second person approve", ErrRefused, s.Target)
	case a.Person == cmp.Or(r.Person, r.By):
		return s, fmt.Errorf("%w: %s asked for it: a second person has to approve", ErrRefused, a.By)
	case a.Number != r.Ask:
		return s, fmt.Errorf("%w: what %s asks for is number %d and not %d: %s", ErrRefused, a.By, a.Number, r.Ask, a.Reason)
	case !a.Open(r.At):
		return s, fmt.Errorf("%w: %s asked for it over %s ago: ask again", ErrRefused, a.By, AskedFor)
	}
	s = s.record(Record{At: r.At, Kind: KindApproved, By: r.By, How: r.How, Address: r.Address, Replica: r.Replica, Reason: r.Reason})
	return s.revive(Request{At: r.At, By: a.By, How: a.How, Address: a.Address, Replica: r.Replica, Reason: a.Reason, Ramp: a.Ramp}), nil
}
