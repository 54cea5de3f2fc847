package scan

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// answer returns an Open Inference V2 answer with n probabilities, written as
// Python writes float32 values that it holds as doubles.
func answer(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := []byte(`{"model_name":"fraud","model_version":"1","id":"7","outputs":[{"name":"score","datatype":"FP32","shape":[` + strconv.Itoa(n) + `],"data":[`)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(r.Float32()), 'g', -1, 64)
	}
	return append(b, "]}]}"...)
}

// scanAnswer parses an answer and checks its range.
func scanAnswer(d *Document, src []byte) bool {
	if d.Parse(src, Limits{}) != nil {
		return false
	}
	out, _ := d.Root().Get("outputs")
	data, _ := out.At(0).Get("data")
	if s, ok := data.Numbers(); !ok || s.FirstBad >= 0 {
		return false
	}
	_, found := data.OutOfRange(0, 1)
	return !found
}

// decodeAnswer does the same with encoding/json.
func decodeAnswer(src []byte) bool {
	var a struct {
		Outputs []struct {
			Name string    `json:"name"`
			Data []float64 `json:"data"`
		} `json:"outputs"`
	}
	if json.Unmarshal(src, &a) != nil || len(a.Outputs) != 1 {
		return false
	}
	for _, v := range a.Outputs[0].Data {
		if !(v >= 0 && v <= 1) {
			return false
		}
	}
	return true
}

var answerSizes = []int{1000, 10000}

func BenchmarkTensorScan(b *testing.B) {
	for _, n := range answerSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			src := answer(n)
			var d Document
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if !scanAnswer(&d, src) {
					b.Fatal("not clean")
				}
			}
		})
	}
}

func BenchmarkTensorEncodingJSON(b *testing.B) {
	for _, n := range answerSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			src := answer(n)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if !decodeAnswer(src) {
					b.Fatal("not clean")
				}
			}
		})
	}
}

// BenchmarkTensorRatio does both in turns, so that a noisy machine slows both,
// and reports how many times faster the scan is.
func BenchmarkTensorRatio(b *testing.B) {
	const turns = 8 // scans for each decode
	for _, n := range answerSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			src := answer(n)
			var d Document
			var scan, decode time.Duration
			for b.Loop() {
				begin := time.Now()
				for range turns {
					if !scanAnswer(&d, src) {
						b.Fatal("not clean")
					}
				}
				middle := time.Now()
				if !decodeAnswer(src) {
					b.Fatal("not clean")
				}
				scan += middle.Sub(begin)
				decode += time.Since(middle)
			}
			bytes := float64(len(src)) * float64(b.N)
			b.ReportMetric(turns*bytes/scan.Seconds()/1e6, "scan-MB/s")
			b.ReportMetric(bytes/decode.Seconds()/1e6, "json-MB/s")
			b.ReportMetric(turns*decode.Seconds()/scan.Seconds(), "times-json")
		})
	}
}
