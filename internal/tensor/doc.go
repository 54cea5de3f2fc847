// Package tensor knows the datatypes of the Open Inference Protocol and reads
// tensors that travel as raw little-endian bytes.
//
// All of it is pure functions over the caller's bytes: nothing is kept, nothing
// is allocated, every length is taken as hostile, and concurrent use is safe.
package tensor
