package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"
	"time"
)

func sample() (Key, Entry) {
	key := NewKey(Parts{Route: "r", Path: "/p", Model: "default/fraud", Version: "v1", Tenant: []string{"x-tenant", "a"}})
	return key, Entry{
		Status: 200, ContentType: "application/octet-stream", Headers: []Header{{"inference-header-content-length", "2"}},
		Body: []byte("{}\x00\xff"), Stored: time.Unix(1_700_000_000, 123), Model: "default/fraud", Version: "v1",
	}
}

func TestCodec(t *testing.T) {
	key, e := sample()
	got, err := readEntry(appendEntry(nil, key, e), key)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("got %+v, %v; want %+v", got, err, e)
	}
	e.Headers, e.Body = nil, []byte{}
	got, err = readEntry(appendEntry([]byte("before"), key, e)[len("before"):], key)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("an empty one: got %+v, %v", got, err)
	}
	if _, err := readEntry(appendEntry(nil, key, e), NewKey(Parts{Route: "other"})); !errors.Is(err, errMismatch) {
		t.Errorf("another key's: %v", err)
	}
}

// TestCodecDamage cuts a value at every byte and flips every bit of it.
func TestCodecDamage(t *testing.T) {
	key, e := sample()
	good := appendEntry(nil, key, e)
	for n := range good {
		if _, err := readEntry(good[:n], key); !errors.Is(err, errCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := readEntry(bad, key); !errors.Is(err, errCorrupt) {
			t.Errorf("bit %d flipped: %v", i, err)
		}
	}
}

// FuzzReadEntry gives the reader what a checksum does not stop.
func FuzzReadEntry(f *testing.F) {
	key, e := sample()
	good := appendEntry(nil, key, e)
	f.Add(good[8:])
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, content []byte) {
		value := append([]byte(magic), 0, 0, 0, 0)
		value = append(value, content...)
		binary.BigEndian.PutUint32(value[4:], crc32.Checksum(content, castagnoli))
		got, err := readEntry(value, key)
		if err != nil {
			return
		}
		if again, err := readEntry(appendEntry(nil, key, got), key); err != nil || !bytes.Equal(again.Body, got.Body) {
			t.Errorf("read and written again: %v", err)
		}
	})
}
