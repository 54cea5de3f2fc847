//go:build !purego

package tensor

// block is what cleanBlocks reads at a time.
const block = 256

// clean returns how many bytes from the beginning hold only finite elements: a
// number of whole blocks, up to the first one that holds another.
//
// It is the one place with assembly, because the words of plain Go stay under
// a third of the speed at which the memory can be read. The test compares it
// with plain Go.
func clean(l *lanes, raw []byte) int {
	if len(raw) < block {
		return 0
	}
	return cleanBlocks(&raw[0], len(raw)/block, l.clear, l.most) * block
}

// cleanBlocks returns the number of blocks before the first in which some 16
// bits, signs cleared and as signed integers, are above those of most.
//
//go:noescape
func cleanBlocks(raw *byte, blocks int, clear, most uint64) int
