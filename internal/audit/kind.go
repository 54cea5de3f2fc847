package audit

import (
	"maps"
	"slices"
)

// Kind is what an entry tells of.
type Kind string

// The kinds. Those of the chain itself are written by this package alone.
const (
	KindRelease        Kind = "release"        // a record of a model's history: a rollout's step, a promotion, a rollback
	KindPolicy         Kind = "policy"         // a policy went back to an earlier change, or follows its file again
	KindKill           Kind = "kill"           // something was stopped
	KindRevive         Kind = "revive"         // a kill was undone, or a step of its ramp
	KindApproval       Kind = "approval"       // a second person agreed
	KindRefused        Kind = "refused"        // somebody asked for what they may not do, or what cannot be done
	KindConfiguration  Kind = "configuration"  // files, or the access to this API, changed
	KindDecision       Kind = "decision"       // automation acted, with its evidence
	KindMerge          Kind = "merge"          // replicas met, and held different kills
	KindDeregistration Kind = "deregistration" // a proxy is expected no more
	KindKey            Kind = "key"            // a key that signs policies was made, signs, or went out of use
	KindBackup         Kind = "backup"         // somebody took the store's content, those keys included

	KindStart Kind = "start" // a process began to write: its public key and its configuration
	KindCut   Kind = "cut"   // a line that a crash left unfinished was removed
	KindBreak Kind = "break" // this chain goes on for one that is damaged, and says where
	KindJoin  Kind = "join"  // another writer's chain was seen to be this long
)

// kinds says for each kind whether callers may append it.
var kinds = map[Kind]bool{
	KindRelease: true, KindPolicy: true, KindKill: true, KindRevive: true, KindApproval: true,
	KindRefused: true, KindConfiguration: true, KindDecision: true, KindMerge: true,
	KindDeregistration: true, KindKey: true, KindBackup: true,

	KindStart: false, KindCut: false, KindBreak: false, KindJoin: false,
}

// Kinds returns all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }

// Known reports whether there is such a kind.
func (k Kind) Known() bool {
	_, ok := kinds[k]
	return ok
}

// Outcome is what became of what an entry tells of.
type Outcome string

// The outcomes.
const (
	OutcomeDone    Outcome = "done"    // it holds; the default
	OutcomeBegun   Outcome = "begun"   // it is about to be done, or waits for something that Reason names
	OutcomeRefused Outcome = "refused" // nothing was changed
	OutcomeFailed  Outcome = "failed"  // it was tried, and Reason says what went wrong
)

var outcomes = map[Outcome]bool{OutcomeDone: true, OutcomeBegun: true, OutcomeRefused: true, OutcomeFailed: true}
