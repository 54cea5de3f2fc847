package abi

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// ErrPairs is returned for bytes that are no header pairs.
var ErrPairs = errors.New("header pairs: sizes and bytes do not fit together")

// A pair costs two sizes and two NULs besides its own bytes.
const (
	countSize = 4
	sizesSize = 8
	nulsSize  = 2
)

// AppendPairs appends pairs in the form of the ABI: their count, the sizes of
// each key and value, then the bytes of each, with a NUL behind. Numbers are
// little endian and of 32 bits.
func AppendPairs(dst []byte, pairs [][2]string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pairs)))
	for i := range pairs {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pairs[i][0])))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pairs[i][1])))
	}
	for i := range pairs {
		dst = append(dst, pairs[i][0]...)
		dst = append(dst, 0)
		dst = append(dst, pairs[i][1]...)
		dst = append(dst, 0)
	}
	return dst
}

// PairsSize is how many bytes AppendPairs appends.
func PairsSize(pairs [][2]string) int {
	size := countSize + len(pairs)*(sizesSize+nulsSize)
	for i := range pairs {
		size += len(pairs[i][0]) + len(pairs[i][1])
	}
	return size
}

// Pairs reads what AppendPairs writes. The strings are parts of b, which must
// not be changed any more. No bytes at all are no pairs. Bytes after the last
// pair are ignored, as hosts do.
func Pairs(b []byte) ([][2]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < countSize {
		return nil, ErrPairs
	}
	n := int(binary.LittleEndian.Uint32(b))
	// Held against what there is before anything is allocated for it.
	if n > (len(b)-countSize)/(sizesSize+nulsSize) {
		return nil, ErrPairs
	}
	sizes, rest := b[countSize:countSize+n*sizesSize], b[countSize+n*sizesSize:]
	pairs := make([][2]string, n)
	for i := range pairs {
		for j := range pairs[i] {
			size := uint64(binary.LittleEndian.Uint32(sizes))
			sizes = sizes[4:]
			if size >= uint64(len(rest)) { // and the NUL
				return nil, ErrPairs
			}
			pairs[i][j] = text(rest[:size])
			rest = rest[size+1:]
		}
	}
	return pairs, nil
}

func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
