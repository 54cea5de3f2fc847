package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// The form of an entry in a shared store:
//
//	magic    4 bytes: "sfc" and the format's number
//	checksum 4 bytes, big endian: CRC-32C of all that follows
//	key      the full key
//	stored   8 bytes, big endian: Unix nanoseconds
//	status   a number
//	model, version, content-type
//	headers  their number, then name and value of each
//	body     the rest
//
// A number is a uvarint and a text is its length and its bytes. Another format
// takes another magic, upon which entries of this one are misses.
const magic = "sfc\x01"

const maxHeaders = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What readEntry finds wrong.
var (
	errCorrupt  = errors.New("cache: the value cannot be read")
	errMismatch = errors.New("cache: the value is another key's")
)

func appendEntry(dst []byte, key Key, e Entry) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendText(dst, key.full)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Stored.UnixNano()))
	dst = binary.AppendUvarint(dst, uint64(max(e.Status, 0)))
	for _, s := range []string{key.model, key.version, e.ContentType} {
		dst = appendText(dst, s)
	}
	headers := e.Headers[:min(len(e.Headers), maxHeaders)]
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		dst = appendText(dst, h.Name)
		dst = appendText(dst, h.Value)
	}
	dst = append(dst, e.Body...)
	content := dst[start+len(magic)+4:]
	binary.BigEndian.PutUint32(dst[start+len(magic):], crc32.Checksum(content, castagnoli))
	return dst
}

// reader takes a value apart. Its first failure sticks.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.take(r.number())) }

// readEntry reads what appendEntry wrote for the same key. The entry's body is
// a part of value.
func readEntry(value []byte, key Key) (Entry, error) {
	r := reader{b: value}
	if string(r.take(uint64(len(magic)))) != magic {
		return Entry{}, errCorrupt
	}
	sum := r.take(4)
	if r.failed || binary.BigEndian.Uint32(sum) != crc32.Checksum(r.b, castagnoli) {
		return Entry{}, errCorrupt
	}
	full := r.text()
	stored := r.take(8)
	status := r.number()
	e := Entry{Model: r.text(), Version: r.text(), ContentType: r.text()}
	n := r.number()
	if r.failed || n > maxHeaders || status > 999 {
		return Entry{}, errCorrupt
	}
	for range n {
		e.Headers = append(e.Headers, Header{r.text(), r.text()})
	}
	if r.failed {
		return Entry{}, errCorrupt
	}
	if full != key.full {
		return Entry{}, errMismatch
	}
	e.Status = int(status)
	e.Stored = time.Unix(0, int64(binary.BigEndian.Uint64(stored)))
	e.Body = r.b
	return e, nil
}
