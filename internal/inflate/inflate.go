// Package inflate undoes the content-encoding of a body under caps of size and
// ratio. Models are asked for identity; a server that compresses all the same
// is read here, and a decompression bomb is stopped before it is held in
// memory.
package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
	"sync"
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
	switch codecOf(encoding) {
	case codecIdentity:
		return body, nil
	case codecGzip:
		return inflateGzip(dst, body)
	case codecDeflate:
		return inflateDeflate(dst, body)
	default:
		return nil, ErrUnknown
	}
}

// gzipReader is a reader with the source that it reads from, kept in pairs in
// a pool: a gzip.Reader holds some 40 KiB of window.
type gzipReader struct {
	src bytes.Reader
	z   *gzip.Reader
}

var gzipReaders = sync.Pool{New: func() any { return &gzipReader{z: new(gzip.Reader)} }}

func inflateGzip(dst, body []byte) ([]byte, error) {
	r := gzipReaders.Get().(*gzipReader)
	defer func() {
		r.src.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.src.Reset(body)
	if err := r.z.Reset(&r.src); err != nil {
		return nil, ErrDamaged
	}
	// Members after the first are refused: one answer is one member, and the
	// next member's header would be found by a reader that decides otherwise.
	r.z.Multistream(false)
	out, err := capped(dst, r.z, len(body))
	if err != nil {
		return nil, err
	}
	if r.src.Len() != 0 {
		return nil, ErrTrailing
	}
	return out, nil
}

// flateReader is the same pair for raw deflate streams.
type flateReader struct {
	src bytes.Reader
	z   io.ReadCloser
}

var flateReaders = sync.Pool{New: func() any {
	r := new(flateReader)
	r.z = flate.NewReader(&r.src)
	return r
}}

type zlibReader struct {
	src bytes.Reader
	z   io.ReadCloser // nil until the first good header: zlib.NewReader reads it
}

var zlibReaders = sync.Pool{New: func() any { return new(zlibReader) }}

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
	return len(b) >= 2 && b[0]&0x0f == 8 && b[1]&0x20 == 0 && (uint(b[0])<<8|uint(b[1]))%31 == 0
}

func inflateZlib(dst, body []byte) ([]byte, error) {
	r := zlibReaders.Get().(*zlibReader)
	defer func() {
		r.src.Reset(nil)
		zlibReaders.Put(r)
	}()
	r.src.Reset(body)
	var err error
	if r.z == nil {
		r.z, err = zlib.NewReader(&r.src)
	} else {
		err = r.z.(zlib.Resetter).Reset(&r.src, nil)
	}
	if err != nil {
		return nil, ErrDamaged
	}
	out, err := capped(dst, r.z, len(body))
	if err != nil {
		return nil, err
	}
	if r.src.Len() != 0 {
		return nil, ErrTrailing
	}
	return out, nil
}

func inflateFlate(dst, body []byte) ([]byte, error) {
	r := flateReaders.Get().(*flateReader)
	defer func() {
		r.src.Reset(nil)
		flateReaders.Put(r)
	}()
	r.src.Reset(body)
	if err := r.z.(flate.Resetter).Reset(&r.src, nil); err != nil {
		return nil, ErrDamaged
	}
	out, err := capped(dst, r.z, len(body))
	if err != nil {
		return nil, err
	}
	if r.src.Len() != 0 {
		return nil, ErrTrailing
	}
	return out, nil
}

// firstRoom is what is made ready for a body at first; it grows by doubling,
// never past the caps.
const firstRoom = 16 << 10

// capped reads z to its end, appending to dst, and stops at the first byte
// over a cap.
func capped(dst []byte, z io.Reader, compressed int) ([]byte, error) {
	start := len(dst)
	limit, over := MaxBytes, ErrTooLarge
	if byRatio := max(compressed*MaxRatio, ratioFloor); byRatio < limit {
		limit, over = byRatio, ErrRatio
	}
	if cap(dst)-start < 512 {
		dst = append(make([]byte, 0, start+firstRoom), dst...)
	}
	for {
		if len(dst) == cap(dst) {
			room := min(2*(len(dst)-start), limit+1)
			grown := make([]byte, len(dst), start+max(room, firstRoom))
			copy(grown, dst)
			dst = grown
		}
		n, err := z.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > limit:
			return nil, over
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return nil, ErrDamaged
		}
	}
}
