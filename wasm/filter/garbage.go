//go:build !wasip1

package filter

// setGCPercent leaves the garbage of a process that the filter is only a part of
// alone.
func setGCPercent(int32) int32 { return 0 }
