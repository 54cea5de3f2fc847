package audit

import (
	"bytes"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
)

// BenchmarkAppend is what an acknowledged entry costs: a write and a sync, which
// concurrent callers share.
func BenchmarkAppend(b *testing.B) {
	b.Run("disk-alone", func(b *testing.B) {
		f, err := openDisk(filepath.Join(b.TempDir(), "file"))
		if err != nil {
			b.Fatal(err)
		}
		line := make([]byte, 650)
		for b.Loop() {
			if _, err := f.Write(line); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		_ = f.Close()
	})
	for _, callers := range []int{1, 64} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			l := open(b, Options{Dir: b.TempDir()})
			var n atomic.Int64
			b.SetParallelism(callers) // times GOMAXPROCS, which is 1 here: -cpu 1
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := l.Append(b.Context(), sample("x"+strconv.FormatInt(n.Add(1), 10))); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkSeal is an entry's part of that without the disk.
func BenchmarkSeal(b *testing.B) {
	l := open(b, Options{Dir: b.TempDir()})
	e, err := sample("x").prepared()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		e = e.sealed("control-1~0123456789abcdef", 1, e.At, e.Hash, l.key)
		_ = e.Line()
	}
}

// BenchmarkVerify is of one entry of a long chain.
func BenchmarkVerify(b *testing.B) {
	lines := linesOf(b, written(b, "control-1", 500, Options{}))
	text := append(bytes.Join(lines, []byte("\n")), '\n')
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if r, err := Verify(VerifyOptions{}, Reader("x", bytes.NewReader(text))); err != nil || !r.OK() {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(lines)), "ns/entry")
}
