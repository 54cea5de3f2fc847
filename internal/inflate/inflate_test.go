package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

func compress(t testing.TB, format string, body []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch format {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zlib":
		w = zlib.NewWriter(&buf)
	case "raw":
		w, _ = flate.NewWriter(&buf, flate.BestCompression)
	default:
		return body
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// noise has a ratio near 1.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

var answer = []byte(`{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`)

func TestBody(t *testing.T) {
	damaged := bytes.Clone(compress(t, "gzip", answer))
	damaged[len(damaged)-6] ^= 0xff // the checksum
	big := noise(300 << 10)
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		want     []byte
		err      error
	}{
		"no encoding":          {"", answer, answer, nil},
		"identity":             {" Identity ", answer, answer, nil},
		"gzip":                 {"gzip", compress(t, "gzip", answer), answer, nil},
		"gzip in another case": {"GZip", compress(t, "gzip", answer), answer, nil},
		"x-gzip":               {"x-gzip", compress(t, "gzip", answer), answer, nil},
		"deflate as zlib":      {"deflate", compress(t, "zlib", answer), answer, nil},
		"deflate bare":         {"deflate", compress(t, "raw", answer), answer, nil},
		"gzip, larger":         {"gzip", compress(t, "gzip", big), big, nil},
		"gzip of nothing":      {"gzip", compress(t, "gzip", nil), []byte{}, nil},
		"br":                   {"br", answer, nil, ErrUnknown},
		"zstd":                 {"zstd", answer, nil, ErrUnknown},
		"compress":             {"compress", answer, nil, ErrUnknown},
		"stacked":              {"gzip, gzip", compress(t, "gzip", compress(t, "gzip", answer)), nil, ErrUnknown},
		"identity and gzip":    {"identity, gzip", compress(t, "gzip", answer), nil, ErrUnknown},
		"garbage":              {"\x00\xff", answer, nil, ErrUnknown},
		"not gzip at all":      {"gzip", answer, nil, ErrDamaged},
		"empty gzip":           {"gzip", nil, nil, ErrDamaged},
		"gzip cut short":       {"gzip", compress(t, "gzip", answer)[:40], nil, ErrDamaged},
		"gzip bad checksum":    {"gzip", damaged, nil, ErrDamaged},
		"zlib cut short":       {"deflate", compress(t, "zlib", answer)[:40], nil, ErrDamaged},
		"not deflate at all":   {"deflate", []byte("{\"a\":1}"), nil, ErrDamaged},
		"second gzip member":   {"gzip", append(compress(t, "gzip", answer), compress(t, "gzip", answer)...), nil, ErrTrailing},
		"bytes behind gzip":    {"gzip", append(compress(t, "gzip", answer), "x"...), nil, ErrTrailing},
		"bytes behind zlib":    {"deflate", append(compress(t, "zlib", answer), "x"...), nil, ErrTrailing},
		"bytes behind bare":    {"deflate", append(compress(t, "raw", answer), "x"...), nil, ErrTrailing},
		"ratio":                {"gzip", compress(t, "gzip", make([]byte, 4<<20)), nil, ErrRatio},
		"ratio of bare":        {"deflate", compress(t, "raw", make([]byte, 4<<20)), nil, ErrRatio},
		"under the floor":      {"gzip", compress(t, "gzip", make([]byte, ratioFloor)), make([]byte, ratioFloor), nil},
		"size":                 {"gzip", compress(t, "gzip", append(noise(1<<20), make([]byte, MaxBytes)...)), nil, ErrTooLarge},
		"as large as allowed":  {"gzip", compress(t, "gzip", append(noise(1<<20), make([]byte, MaxBytes-1<<20)...)), append(noise(1<<20), make([]byte, MaxBytes-1<<20)...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Body(nil, c.encoding, c.body)
			if !errors.Is(err, c.err) || err != c.err {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !bytes.Equal(got, c.want) {
				t.Fatalf("got %d bytes, want %d", len(got), len(c.want))
			}
			if known := Known(c.encoding); known != (c.err != ErrUnknown) {
				t.Fatalf("Known(%q) = %v", c.encoding, known)
			}
		})
	}
}

// A bomb costs what the cap allows, not what it would become.
func TestBombIsStoppedEarly(t *testing.T) {
	bomb := compress(t, "gzip", make([]byte, 64<<20))
	room := bytes.Repeat([]byte{0xff}, 32<<20)
	if _, err := Body(room[:0], "gzip", bomb); err != ErrRatio {
		t.Fatalf("error %v", err)
	}
	if limit := MaxRatio * len(bomb); bytes.IndexByte(room, 0xff) > limit || room[limit] != 0xff {
		t.Fatalf("%d bytes were inflated under a limit of %d", bytes.IndexByte(room, 0xff), limit)
	}
}

// A damaged body leaves nothing for the next one.
func TestBodiesAreIndependent(t *testing.T) {
	bodies := map[string][]byte{"gzip": compress(t, "gzip", answer), "deflate": compress(t, "zlib", answer)}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				for encoding, body := range bodies {
					if i%3 == 0 {
						if _, err := Body(nil, encoding, body[:len(body)/2]); err != ErrDamaged {
							t.Errorf("half a body: %v", err)
						}
					}
					got, err := Body(nil, encoding, body)
					if err != nil || !bytes.Equal(got, answer) {
						t.Errorf("%s: %v", encoding, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestIdentityIsNotCopied(t *testing.T) {
	got, err := Body(nil, "identity", answer)
	if err != nil || &got[0] != &answer[0] {
		t.Fatal("an identity body was copied")
	}
}

func TestRoomIsReused(t *testing.T) {
	body := compress(t, "gzip", answer)
	room := make([]byte, 0, 64<<10)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := Body(room, "gzip", body); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 {
		t.Fatalf("%v allocations", allocs)
	}
}

func FuzzBody(f *testing.F) {
	f.Add("gzip", compress(f, "gzip", answer))
	f.Add("deflate", compress(f, "zlib", answer))
	f.Add("deflate", compress(f, "raw", answer))
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		got, err := Body(nil, encoding, body)
		if err == nil && !Identity(encoding) && len(got) > MaxBytes {
			t.Fatalf("%d bytes", len(got))
		}
		same(t, encoding, body)
	})
}
