// Package scan is the only reader of JSON on the data path: one bounded pass,
// without recursion, that decides what a text holds for detection and for
// rewriting alike.
//
// A Document is a flat tape of values over the bytes that were parsed; nothing
// is copied, decoded or converted until it is asked for. An array that holds
// only numbers, nulls and the bare tokens NaN, Infinity and -Infinity is one
// value on the tape, and its count, minimum, maximum and first bad element are
// taken in the same pass.
//
// Readers of JSON differ in what they make of duplicate names and of names in
// another case. This one takes neither side: Get matches exact case and tells
// of duplicates, Ambiguous tells of both.
package scan
