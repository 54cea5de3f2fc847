package access

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a principal may do. No role contains another; each may read what
// it acts on.
type Role string

// The roles.
const (
	Viewer    Role = "viewer"    // reads
	Operator  Role = "operator"  // rolls out and back, pins policies, takes proxies out, backs up, rotates keys
	Responder Role = "responder" // kills
	Approver  Role = "approver"  // revives, and approves a revive of another person
)

// Roles returns all roles.
func Roles() []Role { return []Role{Viewer, Operator, Responder, Approver} }

// UnmarshalText reads a role by its name.
func (r *Role) UnmarshalText(text []byte) error {
	if !slices.Contains(Roles(), Role(text)) {
		return fmt.Errorf("is %q; want viewer, operator, responder or approver", clip(string(text)))
	}
	*r = Role(text)
	return nil
}

// Action is what somebody wants to do.
type Action string

// The actions.
const (
	Read       Action = "read"
	Rollout    Action = "rollout"    // start, pause, resume, promote, abort
	Rollback   Action = "rollback"   // of a model
	Policy     Action = "policy"     // roll a policy back, or unpin it
	Deregister Action = "deregister" // a proxy that is gone for good
	Backup     Action = "backup"     // read all of the store
	Rotate     Action = "rotate"     // the keys that sign policies
	Kill       Action = "kill"
	Revive     Action = "revive"
	Approve    Action = "approve" // another person's revive
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{Read, Rollout, Rollback, Policy, Deregister, Backup, Rotate, Kill, Revive, Approve}
}

// rule says which roles may do an action, and what it is done to.
type rule struct {
	roles []Role
	kinds []Kind
}

// rules is all that anybody may do.
var rules = map[Action]rule{
	Read:       {Roles(), []Kind{KindEverything, KindOverview, KindModel, KindRoute, KindPolicy, KindProxy}},
	Rollout:    {[]Role{Operator}, []Kind{KindModel}},
	Rollback:   {[]Role{Operator}, []Kind{KindModel}},
	Policy:     {[]Role{Operator}, []Kind{KindPolicy}},
	Deregister: {[]Role{Operator}, []Kind{KindProxy}},
	Backup:     {[]Role{Operator}, []Kind{KindEverything}},
	Rotate:     {[]Role{Operator}, []Kind{KindEverything}},
	Kill:       {[]Role{Responder}, []Kind{KindEverything, KindModel, KindRoute}},
	Revive:     {[]Role{Approver}, []Kind{KindEverything, KindModel, KindRoute}},
	Approve:    {[]Role{Approver}, []Kind{KindEverything, KindModel, KindRoute}},
}

// RolesFor returns the roles that may do an action, within their scopes; none
// where there is no such action.
func RolesFor(a Action) []Role { return rules[a].roles }

// names writes roles for people: "operator", "viewer or operator".
func names(roles []Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	return strings.Join(words, " or ")
}
