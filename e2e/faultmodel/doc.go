// Package faultmodel is a model server that can fail on purpose: a small fraud
// scorer over every protocol of tensors and rows that safestate reads, gRPC
// among them, and a chat model that counts to sixty, plain and as a stream; with
// a catalogue of faults, each an enum value with the protocols on which it
// exists and, where it is in a stream, the places at which it is worth having.
// Every fault has a counter of how often its bytes really went out, so that a
// test which passes can also prove that its fault was there; every stream
// notices when its caller leaves. HTTP/1.1 and HTTP/2 in the clear share one
// port.
//
// cmd/samplemodel is the same server as a program.
package faultmodel
