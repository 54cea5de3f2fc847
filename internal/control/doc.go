// Package control is the control plane: it keeps what releases have decided in
// the store, decides on by what the hosts report, and makes it true at the
// proxies.
//
//	files ──► Configure ─┐
//	store ──► follow ────┼─► publish ─► xDS ─► proxies' ACKs ─► proof ─┐
//	          ▲          │                                             │
//	        commit ◄── round ◄── evidence ◄── signals of the hosts     │
//	          ▲          ▲  ◄── checks, readiness ◄────────────────────┘
//	        Command    (one replica leads)
//
// Every replica follows the store and publishes; one of them leads and decides.
// What a person commands may come to any of them. All that is decided is decided
// by package release, purely; here it is fed, written down and carried out.
package control
