package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
)

// byStandard is Body by the standard library's readers.
func byStandard(encoding string, body []byte) ([]byte, error) {
	switch codecOf(encoding) {
	case codecIdentity:
		return body, nil
	case codecGzip:
		src := bytes.NewReader(body)
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, ErrDamaged
		}
		z.Multistream(false)
		return all(z, src, len(body))
	case codecDeflate:
		raw := func() ([]byte, error) {
			src := bytes.NewReader(body)
			return all(flate.NewReader(src), src, len(body))
		}
		if !zlibHeader(body) {
			return raw()
		}
		src := bytes.NewReader(body)
		out, err := []byte(nil), ErrDamaged
		if z, bad := zlib.NewReader(src); bad == nil {
			out, err = all(z, src, len(body))
		}
		if err == ErrDamaged {
			if out, err := raw(); err == nil {
				return out, nil
			}
		}
		return out, err
	}
	return nil, ErrUnknown
}

func all(z io.Reader, src *bytes.Reader, compressed int) ([]byte, error) {
	most := capOf(compressed)
	out, err := io.ReadAll(io.LimitReader(z, int64(most.bytes)+1))
	switch {
	case len(out) > most.bytes:
		return nil, most.over
	case err != nil:
		return nil, ErrDamaged
	case src.Len() > 0:
		return nil, ErrTrailing
	}
	return out, nil
}

func same(t *testing.T, encoding string, body []byte) {
	t.Helper()
	got, err := Body(nil, encoding, body)
	want, wantErr := byStandard(encoding, body)
	if err != wantErr || !bytes.Equal(got, want) {
		t.Errorf("%s of %x: %d bytes (%v), want %d (%v)", encoding, body[:min(len(body), 400)], len(got), err, len(want), wantErr)
	}
	before := []byte("before it")
	if behind, err := Body(before, encoding, body); err == nil && !Identity(encoding) && string(behind) != "before it"+string(want) {
		t.Errorf("%s of %x: what was there is changed", encoding, body[:min(len(body), 400)])
	}
}

// streams are bodies by every way of writing them.
func streams(t testing.TB) map[string][][]byte {
	out := map[string][][]byte{}
	texts := [][]byte{nil, []byte("a"), answer, bytes.Repeat(answer, 300), noise(40_000), bytes.Repeat([]byte{7}, 70_000)}
	mixed := noise(3000)
	for i := range mixed { // long codes
		mixed[i] = byte(255 >> (mixed[i] % 9))
	}
	for i := range 4096 {
		mixed = append(mixed, byte(i/(1+i%17)), byte(i))
	}
	for _, text := range append(texts, mixed) {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.BestCompression} {
			for _, format := range []string{"gzip", "zlib", "raw"} {
				var b bytes.Buffer
				var w interface {
					io.WriteCloser
					Flush() error
				}
				switch format {
				case "gzip":
					z, _ := gzip.NewWriterLevel(&b, level)
					z.Name, z.Comment, z.Extra = "a name", "a comment", []byte("extra")
					w = z
				case "zlib":
					w, _ = zlib.NewWriterLevel(&b, level)
				default:
					w, _ = flate.NewWriter(&b, level)
				}
				half := len(text) / 2
				for _, part := range [][]byte{text[:half], text[half:]} {
					if _, err := w.Write(part); err != nil {
						t.Fatal(err)
					}
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				encoding := "deflate"
				if format == "gzip" {
					encoding = "gzip"
				}
				out[encoding] = append(out[encoding], b.Bytes())
			}
		}
	}
	return out
}

func TestBodiesAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for encoding, list := range streams(t) {
		for i, body := range list {
			t.Run(fmt.Sprint(encoding, i), func(t *testing.T) {
				same(t, encoding, body)
				for range 8 {
					same(t, encoding, body[:rnd.IntN(len(body))])
					bent := bytes.Clone(body)
					for range 1 + rnd.IntN(3) {
						bent[rnd.IntN(min(len(bent), 200))] ^= 1 << rnd.IntN(8)
					}
					same(t, encoding, bent)
				}
			})
		}
	}
	for range 5_000 { // mostly codes that are none
		body := make([]byte, rnd.IntN(60))
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		if len(body) > 0 {
			body[0] = body[0]&^7 | []byte{1, 3, 5, 4}[rnd.IntN(4)]
		}
		same(t, "deflate", body)
	}
}

// The header's own checksum, and the flags in every combination.
func TestGzipHeaders(t *testing.T) {
	plain := compress(t, "gzip", answer)
	rnd := rand.New(rand.NewPCG(1, 2))
	for flags := range 32 {
		for range 60 {
			body := append([]byte{}, plain[:10]...)
			body[3] = byte(flags)
			for range rnd.IntN(4) {
				body = append(body, 3, 0, 'a', 'b', 0)
			}
			if rnd.IntN(8) == 0 {
				body = append(append(body, bytes.Repeat([]byte{'x'}, 505+rnd.IntN(10))...), 0)
			}
			if rnd.IntN(2) == 0 {
				sum := crc32.ChecksumIEEE(body)
				body = append(body, byte(sum), byte(sum>>8))
			}
			same(t, "gzip", append(body, plain[10:]...))
			same(t, "gzip", body)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	text := bytes.Repeat(answer, 300)
	text = append(text, noise(len(text)/8)...)
	body := compress(b, "gzip", text)
	var room []byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		out, err := Body(room[:0], "gzip", body)
		if err != nil {
			b.Fatal(err)
		}
		room = out
	}
}
