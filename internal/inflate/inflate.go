// Package inflate undoes the content-encoding of a body under caps of size and
// ratio. Models are asked for identity; a server that compresses all the same
// is read here, and a decompression bomb is stopped before it is held in
// memory.
//
// The decoder is our own: a body is in memory as a whole, which takes a fourth of
// the code of the standard library's readers and writers of streams, and tests hold
// the two against each other.
package inflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"hash/crc32"
	"strings"
)

// Caps on what a body may become.
const (
	MaxBytes = 8 << 20 // bytes after inflating
	MaxRatio = 100     // inflated bytes for each compressed byte
)

// ratioFloor is the size below which the ratio is not looked at: a few
// compressed bytes of constant rows pass any ratio and hurt nobody.
const ratioFloor = 16 << 10

// Why a body was refused. Body returns exactly these, so that a caller can
// name the failure without the body's own bytes.
var (
	ErrUnknown  = errors.New("unknown content-encoding")
	ErrDamaged  = errors.New("damaged")
	ErrTooLarge = errors.New("inflates to more than 8 MiB")
	ErrRatio    = errors.New("inflates to more than 100 times its size")
	ErrTrailing = errors.New("bytes follow the compressed data")
)

// Identity reports whether a content-encoding changes nothing: it is empty or
// names identity, in any case.
func Identity(encoding string) bool {
	e := strings.TrimSpace(encoding)
	return e == "" || strings.EqualFold(e, "identity")
}

// Known reports whether Body can undo a content-encoding.
func Known(encoding string) bool { return codecOf(encoding) != codecUnknown }

type codec uint8

const (
	codecUnknown codec = iota
	codecIdentity
	codecGzip
	codecDeflate
)

// codecOf reads one coding. A list ("gzip, gzip") is unknown: no model server
// stacks codings, and each layer multiplies the ratio.
func codecOf(encoding string) codec {
	switch e := strings.TrimSpace(encoding); {
	case Identity(e):
		return codecIdentity
	case strings.EqualFold(e, "gzip"), strings.EqualFold(e, "x-gzip"):
		return codecGzip
	case strings.EqualFold(e, "deflate"):
		return codecDeflate
	}
	return codecUnknown
}

// Body appends the inflated body to dst and returns it; an identity body is
// returned as it is, without a copy. The errors are the package's own. dst's
// room is reused, and at most MaxBytes are appended. Safe for concurrent use.
//
// "deflate" is zlib's format (RFC 9110, 8.4.1.2); servers that send a bare
// deflate stream are read as well.
func Body(dst []byte, encoding string, body []byte) ([]byte, error) {
	var out []byte
	err := ErrUnknown
	switch codecOf(encoding) {
	case codecIdentity:
		return body, nil
	case codecGzip:
		out, err = inflateGzip(dst, body)
	case codecDeflate:
		out, err = inflateDeflate(dst, body)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// The layout of gzip's header, RFC 1952.
const (
	gzipHeader  = 10
	gzipChecked = 1 << 1 // flags, the fourth byte
	gzipExtra   = 1 << 2
	gzipName    = 1 << 3
	gzipComment = 1 << 4
	longestText = 512 // of a name or a comment, with the zero behind it
	gzipTrailer = 8   // a checksum, and the length
	zlibTrailer = 4   // a checksum
	zlibMethod  = 8
	zlibLongest = 7 // the window, as a power of two over 256
	zlibPreset  = 0x20
)

// inflateGzip undoes one member. One behind it is refused: one answer is one
// member, and the next member's header would be found by a reader that decides
// otherwise.
func inflateGzip(dst, body []byte) ([]byte, error) {
	at, ok := skipGzipHeader(body)
	if !ok {
		return nil, ErrDamaged
	}
	out, rest, err := inflate(dst, body[at:], capOf(len(body)))
	if err != nil {
		return nil, err
	}
	if len(rest) < gzipTrailer {
		return nil, ErrDamaged
	}
	content := out[len(dst):]
	if binary.LittleEndian.Uint32(rest) != crc32.ChecksumIEEE(content) || binary.LittleEndian.Uint32(rest[4:]) != uint32(len(content)) {
		return nil, ErrDamaged
	}
	return out, trailing(rest[gzipTrailer:])
}

// skipGzipHeader returns where the compressed data begins.
func skipGzipHeader(b []byte) (at int, ok bool) {
	if len(b) < gzipHeader || b[0] != 0x1f || b[1] != 0x8b || b[2] != 8 {
		return 0, false
	}
	flags := b[3]
	at = gzipHeader
	if flags&gzipExtra != 0 {
		if len(b) < at+2 {
			return 0, false
		}
		at += 2 + int(binary.LittleEndian.Uint16(b[at:]))
	}
	for _, text := range [...]byte{gzipName, gzipComment} {
		if flags&text == 0 {
			continue
		}
		if at > len(b) {
			return 0, false
		}
		n := bytes.IndexByte(b[at:min(at+longestText, len(b))], 0)
		if n < 0 {
			return 0, false
		}
		at += n + 1
	}
	if flags&gzipChecked != 0 {
		if at+2 > len(b) || binary.LittleEndian.Uint16(b[at:]) != uint16(crc32.ChecksumIEEE(b[:at])) {
			return 0, false
		}
		at += 2
	}
	return at, at <= len(b)
}

func inflateDeflate(dst, body []byte) ([]byte, error) {
	if !zlibHeader(body) {
		return inflateFlate(dst, body)
	}
	out, err := inflateZlib(dst, body)
	if errors.Is(err, ErrDamaged) {
		// One in some thousand bare streams begins like zlib's header.
		if raw, rawErr := inflateFlate(dst, body); rawErr == nil {
			return raw, nil
		}
	}
	return out, err
}

// zlibHeader reports whether b begins with a header of RFC 1950 without a
// preset dictionary: method 8, and a multiple of 31.
func zlibHeader(b []byte) bool {
	return len(b) >= 2 && b[0]&0x0f == zlibMethod && b[1]&zlibPreset == 0 && (uint(b[0])<<8|uint(b[1]))%31 == 0
}

func inflateZlib(dst, body []byte) ([]byte, error) {
	if body[0]>>4 > zlibLongest {
		return nil, ErrDamaged
	}
	out, rest, err := inflate(dst, body[2:], capOf(len(body)))
	if err != nil {
		return nil, err
	}
	if len(rest) < zlibTrailer || binary.BigEndian.Uint32(rest) != adler32.Checksum(out[len(dst):]) {
		return nil, ErrDamaged
	}
	return out, trailing(rest[zlibTrailer:])
}

func inflateFlate(dst, body []byte) ([]byte, error) {
	out, rest, err := inflate(dst, body, capOf(len(body)))
	if err != nil {
		return nil, err
	}
	return out, trailing(rest)
}

func trailing(rest []byte) error {
	if len(rest) > 0 {
		return ErrTrailing
	}
	return nil
}

// limit is what a body may become, and the error past it.
type limit struct {
	bytes int
	over  error
}

func capOf(compressed int) limit {
	if byRatio := max(compressed*MaxRatio, ratioFloor); byRatio < MaxBytes {
		return limit{byRatio, ErrRatio}
	}
	return limit{MaxBytes, ErrTooLarge}
}
