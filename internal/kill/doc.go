// Package kill decides what is killed: which of a mesh's models, versions and
// routes get no traffic, who said so, and what it takes to bring one back.
//
// Towards safe is easy: Kill needs nothing but a person and a reason, and
// succeeds in every state. Back is deliberate: Revive names the generation that
// it saw, gives a reason, and waits for a second person where that is asked for.
//
// Replicas that do not see each other both take kills. Each has an ID, and a
// State lists those that it has taken in, so that Reconcile can tell a kill that a
// revive has answered from one that it never saw: the latter holds. Generations
// only grow, through kills, revives and merges alike.
//
// The package is pure: it has no clock, no store and no network. Values are
// immutable by convention; every function returns a new State.
package kill
