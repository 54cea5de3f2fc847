package policy

import (
	"errors"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/scan"
)

// Errors that Parse wraps.
var (
	ErrTooLarge = fault.Errorf("a compiled policy has at most %d bytes", MaxBytes)
	ErrFormat   = errors.New("a policy format this host does not read")
)

// limits bound the text. Conditions nest deepest; package expr has its own bound on
// them, which this one leaves room for.
var limits = scan.Limits{Depth: 96, Nodes: MaxBytes}

// Parse reads what Marshal wrote and refuses what a host could be hurt by. Of what
// Marshal would not write it takes keys that it does not know, in any case of
// letters but its own, and null for a field that is not there; a field that is
// there twice or is of another type is an error that names it.
func Parse(text string) (*Policy, error) {
	if len(text) > MaxBytes {
		return nil, fault.Errorf("%w: got %d", ErrTooLarge, len(text))
	}
	var p Policy
	if err := read(text, p.read); err != nil {
		return nil, err
	}
	if p.Format != FormatVersion {
		return nil, fault.Errorf("%w: got %d, want %d", ErrFormat, p.Format, FormatVersion)
	}
	if len(p.Ladder) == 0 || p.Ladder[len(p.Ladder)-1].SafeDefault == nil {
		return nil, errors.New("policy: the ladder has no safeDefault as its last rung")
	}
	if p.Deadline <= 0 || p.Reserve < 0 || p.Reserve >= p.Deadline {
		return nil, fault.Errorf("policy: deadline %s with reserve %s leaves the model no time", p.Deadline.D(), p.Reserve.D())
	}
	if p.Limits.BodyBytes <= 0 {
		return nil, fault.Errorf("policy: limits.bodyBytes is %d, want more than 0", p.Limits.BodyBytes)
	}
	return &p, nil
}

// PassesUnread reports whether a policy that cannot be used lets requests pass
// unjudged, as far as it can be read: as for a processor that is away. What it does
// not say is failed closed.
func PassesUnread(text string) bool {
	var p Policy
	err := read(text, func(o *object) {
		word(o, "mode", &p.Mode)
		o.float("enforcePercent", &p.EnforcePercent)
		word(o, "whenProcessorAway", &p.WhenProcessorAway)
		word(o, "host", &p.Host)
	})
	return err == nil && (!p.FullyEnforced() || p.WhenProcessorAway == AwayPass || p.Host == HostBoth)
}

// read reads a text's object.
func read(text string, fields func(*object)) error {
	var doc scan.Document
	if err := doc.Parse([]byte(text), limits); err != nil {
		return fault.Errorf("policy: %w", err)
	}
	var wrong error
	if root := (&object{err: &wrong, n: doc.Root()}); root.is(scan.Object, "an object") {
		fields(root)
	}
	return wrong
}
