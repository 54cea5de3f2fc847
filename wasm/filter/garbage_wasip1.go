package filter

import _ "unsafe" // for linkname

// setGCPercent is runtime/debug's SetGCPercent. The runtime offers it to that package
// by this name; the package itself brings os, fmt and time along, a twelfth of the
// size that the module may have. An empty file in assembler lets it have no body.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(percent int32) int32
