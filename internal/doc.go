// Package internal holds safestate's parts. Which may import which is stated,
// with a reason for every edge, in imports_test.go; this is the map.
//
//	               caller ── Envoy ── model
//	                           │ xDS, ext_proc
//	cmd/safestate ─── serve ───┤
//	  │                 │      │
//	admin (adminv1,     │      │
//	  │    view)        │      │
//	  │      ┌──────────┼──────┴───────┐
//	control ─┤       extproc         envoy (xds)     what a process does
//	  │   config        │   └ telemetry │
//	  │   compile ──────┼───────────────┘
//	  │   │   │         │
//	  │  celc api     ladder                         what answers a failed request
//	  │   │           │ │ │ └ cache · fallback · refresh
//	  │   │           │ │ └ breaker · bulkhead · budget
//	  │ ══╪═══════════╪═╪══════════════════════════  the core, below: pure Go
//	  │   │        rules│
//	  │   │        local                             what answers without asking anybody
//	  │   │         │ detect                         exchange → verdict
//	  │   └─ expr ──┴───┤ └ inflate
//	  │        │     protocol                        answer → tensors, completions
//	  │        │        │  └ tensor · chat
//	  │        └───── scan ───┘                      bytes → values
//	  │             policy · verdict                 the words that all share
//	  │             fault · time (plain)             what stands for fmt and time in WASM
//	  │
//	  ├ signals (signalsv1, slot)                    hosts → counts of each version
//	  ├ sequential                                   counts → is it worse?
//	  ├ release · policies                           evidence → weights, and their story
//	  ├ kill · probe · feed                          what is stopped, and what shows that it is
//	  ├ store (etcd, kube, storetest)                where it is kept
//	  ├ signing (keyring)                            who made a policy, and for which route
//	  ├ access · notify (strictyaml)                 who may ask, and who is told
//	  ├ tenant                                       which files an object may name
//	  ├ audit                                        what was done, so that nobody can deny it
//	  └ checks · readiness                           what else a decision asks
//
// The core (policy, verdict, scan, tensor, expr, inflate, rules, chat, protocol,
// detect, local, fault, time) imports the standard library and itself, without
// net/http, regexp, cel-go and gRPC: it is small enough for a WASM module, and it
// does no I/O, so that a decision depends on its arguments alone. What it is built
// of for that module is less still, see wasm_test.go. Everything that waits,
// connects or reads files is above it. Package deploytest and the folder e2e
// test what is shipped and are imported by nobody; certtest signs
// certificates for tests, porttest finds ports for their servers.
//
// The folder wasm is the same core inside Envoy: filter, on proxywasm (abi,
// types), which binds Proxy-Wasm's ABI. Its emulator is Envoy's side of that,
// for tests, and is held against Envoy by one program that runs in both: probe.
package internal
