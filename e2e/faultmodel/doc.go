// Package faultmodel is a model server that can fail on purpose: a small fraud
// scorer over every protocol that safestate reads, with a catalogue of faults,
// each an enum value with the protocols on which it exists. Every fault has a
// counter of how often its bytes really went out, so that a test which passes
// can also prove that its fault was there.
//
// cmd/samplemodel is the same server as a program.
package faultmodel
