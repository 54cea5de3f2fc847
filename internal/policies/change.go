package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Observe takes in what the files say. The same content again is no change.
// While a change is pinned the new content is recorded and not applied.
//
// Files that come to agree with what is pinned do not end the pin: another
// replica's files may be older, and the pin is what holds them off.
func Observe(s State, spec json.RawMessage, now time.Time) (next State, changed bool, err error) {
	c := Change{At: now, By: Files}
	if c.Spec, c.Digest, err = Canonical(spec); err != nil {
		return s, false, err
	}
	if c.Mode, c.EnforcePercent, err = enforcement(c.Spec); err != nil {
		return s, false, err
	}
	if file, ok := s.Change(s.File); ok && file.Digest == c.Digest {
		return s, false, nil
	}
	if current, ok := s.Change(s.Current); ok && current.Digest == c.Digest {
		s.File = s.Current
		return s, true, nil
	}
	s = s.append(c, s.Pinned == 0)
	s.File = s.last()
	return s.trimmed(), true, nil
}

// Rollback brings the content of an earlier change back and pins it: the files
// are not followed until Unpin. Number 0 is the one before: the newest that was
// in force before the present content was, and differs from it. While a rollback
// holds already, going further back needs a number: two people who do the same at
// the same time, and a request that is repeated, go back once. The error is for the
// person who asked.
func Rollback(s State, number int, by, reason string, now time.Time) (State, error) {
	if err := signed(by, reason); err != nil {
		return s, err
	}
	current, ok := s.Change(s.Current)
	if !ok {
		return s, errors.New("the policy has no history yet")
	}
	target, err := s.target(current, number)
	if err != nil {
		return s, err
	}
	s = s.append(restoring(target, by, reason, now), true)
	s.Pinned = s.Current
	return s.trimmed(), nil
}

// target finds what a rollback goes back to.
func (s State) target(current Change, number int) (Change, error) {
	if number != 0 {
		switch target, ok := s.Change(number); {
		case !ok:
			return Change{}, fmt.Errorf("there is no change %d: the history has %s", number, s.numbers())
		case target.Digest == current.Digest:
			return Change{}, fmt.Errorf("what change %d says is in force already", number)
		default:
			return target, nil
		}
	}
	if s.Pinned != 0 {
		return Change{}, fmt.Errorf("%s took it back to what change %d says at %s: to go further back, name the change",
			current.By, current.Restores, current.At.UTC().Format("15:04:05Z"))
	}
	origin := current.Number
	if current.Restores != 0 { // unpinned: its content is older than its number
		origin = current.Restores
	}
	for _, c := range slices.Backward(s.Changes) {
		if c.Number < origin && c.From != nil && c.Digest != current.Digest {
			return c, nil
		}
	}
	return Change{}, fmt.Errorf("nothing else was in force before: the history has %s", s.numbers())
}

// Unpin follows the files again, from what they said last. The error is for
// the person who asked.
func Unpin(s State, by, reason string, now time.Time) (State, error) {
	if err := signed(by, reason); err != nil {
		return s, err
	}
	file, ok := s.Change(s.File)
	if s.Pinned == 0 || !ok {
		return s, errors.New("the policy follows the files already")
	}
	back := restoring(file, by, reason, now)
	back.Unpins = true
	s = s.append(back, true)
	s.Pinned, s.File = 0, s.Current
	return s.trimmed(), nil
}

// restoring is a change with the content of another.
func restoring(c Change, by, reason string, now time.Time) Change {
	from := c.Number
	if c.Restores != 0 {
		from = c.Restores
	}
	return Change{At: now, By: by, Reason: reason, Restores: from,
		Digest: c.Digest, Spec: c.Spec, Mode: c.Mode, EnforcePercent: c.EnforcePercent}
}

// signed asks for who and why.
func signed(by, reason string) error {
	if strings.TrimSpace(by) == "" || by == Files {
		return errors.New("say who asks")
	}
	if strings.TrimSpace(reason) == "" {
		return errors.New("say why: the reason stands in the history")
	}
	return nil
}

// append adds a change and, where it applies, puts it in the place of the one
// in force.
func (s State) append(c Change, apply bool) State {
	s.Changes = slices.Clone(s.Changes)
	c.Number = s.last() + 1
	if apply {
		at := c.At
		if i, ok := s.index(s.Current); ok {
			s.Changes[i].Until = &at
		}
		c.From = &at
		s.Current = c.Number
	}
	s.Changes = append(s.Changes, c)
	return s
}

// last is the newest number.
func (s State) last() int {
	if len(s.Changes) == 0 {
		return 0
	}
	return s.Changes[len(s.Changes)-1].Number
}

// trimmed drops the oldest changes past the bounds.
func (s State) trimmed() State {
	size := 0
	for _, c := range s.Changes {
		size += len(c.Spec)
	}
	count := len(s.Changes)
	s.Changes = slices.DeleteFunc(s.Changes, func(c Change) bool {
		over := count > MaxChanges || size > maxSpecBytes
		if !over || c.Number == s.Current || c.Number == s.File {
			return false
		}
		count--
		size -= len(c.Spec)
		return true
	})
	return s
}

// numbers names the changes that are left.
func (s State) numbers() string {
	if len(s.Changes) == 1 {
		return fmt.Sprintf("change %d alone", s.Changes[0].Number)
	}
	return fmt.Sprintf("changes %d to %d", s.Changes[0].Number, s.last())
}
