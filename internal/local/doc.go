// Package local makes the answers that need nobody: from rules, from the safe
// default, and those that say that there is none. It is what every host of the
// core says in its own words to a caller, so that callers get the same bytes from
// each.
//
// Like the core it is pure: nothing waits, connects or reads a clock.
package local
