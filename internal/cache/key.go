package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/safestate/safestate/internal/scan"
)

// Parts are what an entry's key is made of.
type Parts struct {
	Route   string   // namespace/route/rule
	Path    string   // the request's, with its query
	Model   string   // namespace/name
	Version string   // the version that answered, or would have
	Tenant  []string // from Cacheable
	Digest  [sha256.Size]byte
}

// Key names one entry: the full text and its sha256, by which stores file it.
// The full text is stored with the entry and compared on every Get.
type Key struct {
	full           string
	hash           [sha256.Size]byte
	model, version string
}

// keyFormat begins every key; another encoding of the parts takes another
// number, so that old entries are misses.
const keyFormat = 1

// NewKey encodes the parts. Each text has its length before it and the
// tenant's their number, so that no two different Parts share a key.
func NewKey(p Parts) Key {
	size := 64 + len(p.Route) + len(p.Path) + len(p.Model) + len(p.Version)
	for _, t := range p.Tenant {
		size += len(t) + 4
	}
	b := make([]byte, 0, size)
	b = append(b, keyFormat)
	for _, s := range []string{p.Route, p.Path, p.Model, p.Version} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Tenant)))
	for _, s := range p.Tenant {
		b = appendText(b, s)
	}
	b = append(b, p.Digest[:]...)
	return Key{full: string(b), hash: sha256.Sum256(b), model: p.Model, version: p.Version}
}

func appendText[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Digest hashes what was asked: the canonical form of the request's JSON, so
// that blanks and the order of members do not matter, and the bytes behind it
// where the request has binary tensors (nil: none).
//
// Top-level members whose names are in without are left out: what does not
// change the answer's content. Open Inference V2 needs it of "id", of which
// callers put a fresh one into each request. An answer that is found that way
// has another request's id in it, and whoever sends it must put the right one
// there with EchoID. ok is false where the request has one of them twice: which
// of the two a server goes by is its own affair.
func Digest(root scan.Node, tail []byte, without ...string) (sum [sha256.Size]byte, ok bool) {
	var buf []byte
	if len(without) > 0 && root.Kind() == scan.Object {
		for _, name := range without {
			if _, dup := root.Get(name); dup {
				return sum, false
			}
		}
		buf = appendWithout(buf, root, without)
	} else {
		buf = scan.AppendCanonical(buf, root)
	}
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(buf))))
	h.Write(buf)
	h.Write(tail)
	h.Sum(sum[:0])
	return sum, true
}

// member is one member of an object in canonical form.
type member struct{ name, value []byte }

// appendWithout writes an object's members but some, sorted by name, each with
// its lengths: a form for hashing, not JSON.
func appendWithout(dst []byte, object scan.Node, without []string) []byte {
	members := make([]member, 0, object.Len())
	for it := object.Children(); it.Next(); {
		if name := it.Key(); !slices.Contains(without, string(name)) {
			members = append(members, member{bytes.Clone(name), scan.AppendCanonical(nil, it.Value())})
		}
	}
	slices.SortStableFunc(members, func(a, b member) int {
		return bytes.Compare(a.name, b.name)
	})
	for _, m := range members {
		dst = appendText(dst, m.name)
		dst = appendText(dst, m.value)
	}
	return dst
}

// EchoID appends the JSON of a cached answer with the id of the request that
// it answers now. id is the raw JSON of the request's own member, or empty
// where it has none: then the id of the answer, which is another request's, is
// replaced by an empty string. Where the answer ends in binary tensors only
// its JSON goes through here, and inference-header-content-length is to be set
// to the new length. An answer that is not an object is appended as it is.
func EchoID(dst []byte, answer scan.Node, id []byte) []byte {
	src := answer.Raw()
	if answer.Kind() != scan.Object {
		return append(dst, src...)
	}
	old, _ := answer.Get("id")
	if !old.Exists() {
		if len(id) == 0 {
			return append(dst, src...)
		}
		dst = append(dst, `{"id":`...)
		dst = append(dst, id...)
		if answer.Len() > 0 {
			dst = append(dst, ',')
		}
		return append(dst, src[1:]...)
	}
	if len(id) == 0 {
		id = []byte(`""`)
	}
	at := old.Offset() - answer.Offset()
	dst = append(dst, src[:at]...)
	dst = append(dst, id...)
	return append(dst, src[at+len(old.Raw()):]...)
}
