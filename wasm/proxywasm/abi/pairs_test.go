package abi

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

func TestPairsComeBack(t *testing.T) {
	huge := strings.Repeat("v", 1<<20)
	for name, pairs := range map[string][][2]string{
		"none":            {},
		"one":             {{"a", "b"}},
		"empty value":     {{"a", ""}, {"", "b"}, {"", ""}},
		"same name":       {{"set-cookie", "a"}, {"set-cookie", "b"}},
		"NUL in value":    {{"a", "x\x00y"}, {"b", "\x00"}},
		"huge value":      {{"a", huge}, {"b", "c"}},
		"many":            many(5000),
		"bytes, not text": {{"\xff\xfe", "\x80"}},
	} {
		encoded := AppendPairs([]byte("before"), pairs)
		if got := len(encoded) - len("before"); got != PairsSize(pairs) {
			t.Errorf("%s: %d bytes, PairsSize says %d", name, got, PairsSize(pairs))
		}
		got, err := Pairs(encoded[len("before"):])
		if err != nil || !reflect.DeepEqual(got, pairs) {
			t.Errorf("%s: %v, %.100v", name, err, got)
		}
	}
}

func many(n int) [][2]string {
	pairs := make([][2]string, n)
	for i := range pairs {
		pairs[i] = [2]string{strings.Repeat("k", i%7), strings.Repeat("v", i%11)}
	}
	return pairs
}

// TestWireForm holds the bytes against the specification's.
func TestWireForm(t *testing.T) {
	want := []byte("\x02\x00\x00\x00" + "\x01\x00\x00\x00\x02\x00\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x00" + "a\x00bc\x00" + "def\x00\x00")
	if got := AppendPairs(nil, [][2]string{{"a", "bc"}, {"def", ""}}); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsNoPairsIsRefused(t *testing.T) {
	whole := AppendPairs(nil, [][2]string{{"name", "value"}, {"n", ""}})
	for i := 1; i < len(whole); i++ {
		if pairs, err := Pairs(whole[:i]); err == nil {
			t.Errorf("cut to %d of %d bytes: %v", i, len(whole), pairs)
		}
	}
	for name, change := range map[string]func([]byte){
		"more pairs than there are":    func(b []byte) { binary.LittleEndian.PutUint32(b, 3) },
		"4 billion pairs":              func(b []byte) { binary.LittleEndian.PutUint32(b, 1<<32-1) },
		"a key of 4 GB":                func(b []byte) { binary.LittleEndian.PutUint32(b[4:], 1<<32-1) },
		"a value of 2 GB":              func(b []byte) { binary.LittleEndian.PutUint32(b[8:], 1<<31) },
		"a key that takes the rest":    func(b []byte) { binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-20)) },
		"a last value without its NUL": func(b []byte) { binary.LittleEndian.PutUint32(b[16:], 1) },
	} {
		b := bytes.Clone(whole)
		change(b)
		if pairs, err := Pairs(b); err == nil {
			t.Errorf("%s: %.100v", name, pairs)
		}
	}
}

func TestNothingIsNoPairs(t *testing.T) {
	if pairs, err := Pairs(nil); err != nil || len(pairs) != 0 {
		t.Errorf("%v, %v", pairs, err)
	}
}

// FuzzPairs reads any bytes, and what it takes for pairs has to be written and
// read as the same pairs again.
func FuzzPairs(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(AppendPairs(nil, [][2]string{{"a", "b"}, {"", ""}}))
	f.Add([]byte("\xff\xff\xff\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := Pairs(b)
		if err != nil {
			return
		}
		if PairsSize(pairs) > len(b) && len(pairs) > 0 {
			t.Fatalf("%d bytes became pairs of %d", len(b), PairsSize(pairs))
		}
		again, err := Pairs(AppendPairs(nil, pairs))
		if err != nil || len(again) != len(pairs) {
			t.Fatalf("%v: %v", err, again)
		}
		for i := range again {
			if again[i] != pairs[i] {
				t.Fatalf("%q became %q", pairs[i], again[i])
			}
		}
	})
}
