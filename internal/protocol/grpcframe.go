package protocol

import "encoding/binary"

// frameHeader is a gRPC frame's own five bytes: a flag that says whether the
// message is compressed, and its length in four bytes, big-endian (gRPC over
// HTTP/2, "Length-Prefixed-Message").
const frameHeader = 5

// Frame appends a message to dst as a gRPC frame, not compressed. The message
// is under 4 GiB.
func Frame(dst, message []byte) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
	return append(dst, message...)
}

// FrameSize returns how many bytes the first frame of b takes, its header
// included; 0 where b has not the whole header yet. ok is false for a flag that
// gRPC does not have: more bytes will not help.
func FrameSize(b []byte) (size int64, ok bool) {
	if len(b) > 0 && b[0] > 1 {
		return 0, false
	}
	if len(b) < frameHeader {
		return 0, true
	}
	return frameHeader + int64(binary.BigEndian.Uint32(b[1:])), true
}

// Unframe splits the first gRPC frame off b. ok is false where b does not hold
// a whole one; FrameSize tells why. A message that is compressed is so by the
// coding that the header grpc-encoding names: inflate.Body undoes it, by the
// same caps as any other body. message and rest share b's memory.
//
// An answer to ModelInfer is one frame with nothing behind it.
func Unframe(b []byte) (message []byte, compressed bool, rest []byte, ok bool) {
	size, ok := FrameSize(b)
	if !ok || size == 0 || size > int64(len(b)) {
		return nil, false, b, false
	}
	return b[frameHeader:size:size], b[0] == 1, b[size:], true
}
