package tensor

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// megabytes4 returns 4 MB of written float32 values that hold no byte 0xA5.
func megabytes4() []byte {
	raw := make([]byte, 4<<20)
	for i := 0; i < len(raw); i += 4 {
		binary.LittleEndian.PutUint32(raw[i:], math.Float32bits(float32(i%1000)/1000)&^0x80808080&^0x40404040)
	}
	return raw
}

// BenchmarkRaw scans 4 MB and reads the same memory once with
// bytes.IndexByte, in turns. "of-read" is the share of that bandwidth.
func BenchmarkRaw(b *testing.B) {
	raw := megabytes4()
	for _, t := range []Type{FP32, FP16, BF16, FP64} {
		b.Run(t.String(), func(b *testing.B) {
			var scan, read time.Duration
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				begin := time.Now()
				if _, _, found := FirstNonFinite(t, raw); found {
					b.Fatal("found")
				}
				middle := time.Now()
				if bytes.IndexByte(raw, 0xA5) >= 0 {
					b.Fatal("found")
				}
				scan += middle.Sub(begin)
				read += time.Since(middle)
			}
			b.ReportMetric(float64(len(raw))*float64(b.N)/scan.Seconds()/1e6, "scan-MB/s")
			b.ReportMetric(float64(len(raw))*float64(b.N)/read.Seconds()/1e6, "read-MB/s")
			b.ReportMetric(read.Seconds()/scan.Seconds(), "of-read")
		})
	}
}

func BenchmarkOutOfRange(b *testing.B) {
	raw := megabytes4()
	for b.Loop() {
		if _, _, found := OutOfRange(FP32, raw, 0, 1); found {
			b.Fatal("found")
		}
	}
	b.SetBytes(int64(len(raw)))
}
