package kube

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// letters keep the order of the bytes that they stand for, and may be in an
// object's name.
var letters = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// Labels by which our objects are found.
const (
	labelStore  = "safestate.dev/store"     // of a Lease: the installation's prefix
	labelLease  = "safestate.dev/lease"     // of a record: the Lease that it lives as long as
	labelUse    = "safestate.dev/lease-use" // of a Lease: useAlive or useLead
	labelFolder = "safestate.dev/in-"       // of a record, and a hash: it is in this folder, see rank
	noteValue   = "safestate.dev/candidate" // annotation of a Lease: what Leader returns
	useAlive    = "alive"                   // a registration's
	useLead     = "leader"                  // an election's
)

// names are those of one installation's objects.
type names struct{ prefix string }

// wholeKey is how much of a key is spelled out in a name, in bytes. A name has at
// most 253 characters.
const wholeKey = 120

// record is the name of a key's object. Names are in the order of their keys, as
// far as the first wholeKey bytes tell.
func (n names) record(key string) string {
	name := n.prefix + "." + letters.EncodeToString([]byte(key[:min(len(key), wholeKey)]))
	if len(key) > wholeKey {
		name += "." + digest(key)
	}
	return name
}

// election is the name of an election's Lease.
func (n names) election(name string) string { return n.prefix + ".leader." + digest(name) }

// alive is the name of a new registration's Lease.
func (n names) alive() string { return n.prefix + ".alive." + fresh() }

// digest tells keys apart: 128 bits of SHA-256.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return letters.EncodeToString(sum[:16])
}

// fresh is a word that nobody else has.
func fresh() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return letters.EncodeToString(b[:])
}

// maxFolders bounds the labels of an object.
const maxFolders = 12

// folders are the ends of a key's folders, the outermost first: of "/a/b" 1 and 3.
func folders(key string) []int {
	var ends []int
	for i := 0; i < len(key) && len(ends) < maxFolders; i++ {
		if key[i] == '/' {
			ends = append(ends, i+1)
		}
	}
	return ends
}

func (n names) folder(path string) string { return labelFolder + digest(n.prefix+" "+path) }

// labels are those of a key's object: for each folder that it is in, the rank of
// the rest of its key.
func (n names) labels(key, lease string) map[string]string {
	out := map[string]string{}
	for _, end := range folders(key) {
		out[n.folder(key[:end])] = strconv.FormatInt(rank(key[end:]), 10)
	}
	if lease != "" {
		out[labelLease] = lease
	}
	return out
}

// ours are the labels of an object that say something about its record.
func ours(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	maps.DeleteFunc(out, func(name, _ string) bool { return name != labelLease && !strings.HasPrefix(name, labelFolder) })
	return out
}

// selector finds the records whose key starts with prefix and is from or later,
// and few others. Where ranged is false it only knows folders.
//
// An API server takes < and > of whole numbers wherever it takes a selector
// (apimachinery's labels.Parse), though its documentation is silent about them.
func (n names) selector(prefix, from string, ranged bool) string {
	ends := folders(prefix)
	end := ends[len(ends)-1]
	label, rest := n.folder(prefix[:end]), prefix[end:]
	if !ranged {
		return label
	}
	var out []string
	low := int64(-1)
	if rest != "" {
		low = rank(rest)
		out = append(out, fmt.Sprintf("%s<%d", label, rank(rest+strings.Repeat("~", ranked))+1))
	}
	if from > prefix && strings.HasPrefix(from, prefix[:end]) {
		low = max(low, rank(from[end:]))
	}
	if low > 0 {
		out = append(out, fmt.Sprintf("%s>%d", label, low-1))
	}
	if len(out) == 0 {
		return label
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

const (
	ranked   = 18                        // digits that a rank tells apart
	region   = 1_000_000_000_000_000_000 // of those that begin alike; 10^ranked
	signs    = 95                        // that a byte of a key can be, and the end
	rankable = 9                         // bytes that a rank tells apart; signs^rankable < region
)

// rank is a number that keeps the order of keys: where a is before b, its rank is
// no higher. It tells numbers of up to 18 digits apart where they are as long as
// each other, and other texts by their first 9 bytes.
func rank(text string) int64 {
	switch {
	case text == "" || text[0] < '0':
		return rankText(text)
	case text[0] > '9':
		return 2*region + rankText(text)
	}
	number, fill := int64(0), int64(-1)
	for i := range ranked {
		digit := fill
		switch {
		case fill >= 0:
		case i >= len(text) || text[i] < '0':
			fill, digit = 0, 0
		case text[i] > '9':
			fill, digit = 9, 9
		default:
			digit = int64(text[i] - '0')
		}
		number = 10*number + digit
	}
	return region + number
}

func rankText(text string) int64 {
	number := int64(0)
	for i := range rankable {
		number *= signs
		if i < len(text) {
			number += int64(text[i] - ' ')
		}
	}
	return number
}
