// Package signals carries what the hosts saw of each model version to the
// control plane, and what all hosts together know of a version's breaker back.
//
//	exchange ── Row ── Reporter ──Report──> Hub ── Take ──> evidence of releases
//	                      │  ^               │ └ Relay ──> the hub that leads
//	            breakers <┘  └──Directive────┘
//
// A Reporter counts without locks and sends cumulative counts; a Hub turns them
// into increments. A report that is lost, doubled, late or out of order changes
// nothing, because every row carries its whole count and the number of its
// report. How a report comes makes no difference: Deliver takes it from anybody who
// counts by signals.proto. What a control plane does, or fails to do, costs the hosts no request:
// counting touches memory only, and all that waits is on goroutines of its own.
package signals
