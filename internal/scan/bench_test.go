package scan

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"
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

func BenchmarkTensor(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		src := answer(n)
		b.Run("scan/"+strconv.Itoa(n), func(b *testing.B) {
			var d Document
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Parse(src, Limits{}); err != nil {
					b.Fatal(err)
				}
				out, _ := d.Root().Get("outputs")
				data, _ := out.At(0).Get("data")
				if s, ok := data.Numbers(); !ok || s.FirstBad >= 0 {
					b.Fatal("not a tensor")
				}
				if _, found := data.OutOfRange(0, 1); found {
					b.Fatal("out of range")
				}
			}
		})
		b.Run("encodingjson/"+strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				var a struct {
					Outputs []struct {
						Name string    `json:"name"`
						Data []float64 `json:"data"`
					} `json:"outputs"`
				}
				if err := json.Unmarshal(src, &a); err != nil {
					b.Fatal(err)
				}
				for _, v := range a.Outputs[0].Data {
					if !(v >= 0 && v <= 1) {
						b.Fatal("out of range")
					}
				}
			}
		})
	}
}
