package faultmodel

import (
	"math"
	"strconv"
)

// Features are what one prediction is made from. A missing feature is 0,
// empty or false.
type Features struct {
	Amount                  float64 `json:"amount"`
	AccountAgeDays          float64 `json:"account_age_days"`
	MerchantCategory        string  `json:"merchant_category"`
	IsInternational         bool    `json:"is_international"`
	HasInternationalHistory bool    `json:"has_international_history"`
}

// prediction is one row of an answer.
type prediction struct {
	score      float64    // 0 to 1
	confidence float64    // 0.7 to 1
	probs      [3]float64 // of labels; the largest leads by at least 0.2
	label      string
	embedding  [4]float64
}

// labels are the classes of probs, in order.
var labels = [3]string{"allow", "review", "deny"}

// weights make the versions differ a little, as retrained models do.
type weights struct{ bias, amount, young, risky, abroad float64 }

var versionWeights = map[string]weights{
	"v1":    {bias: -3.0, amount: 0.00040, young: 1.2, risky: 1.0, abroad: 0.8},
	"v2":    {bias: -2.9, amount: 0.00043, young: 1.1, risky: 1.1, abroad: 0.7},
	"small": {bias: -2.5, amount: 0.00045, young: 0.9},
}

// predict is a logistic scorer: the same input gives the same answer, and
// every field of the input moves it.
func predict(version string, f Features) prediction {
	w, ok := versionWeights[version]
	if !ok {
		w = versionWeights["v1"]
	}
	x := w.bias + w.amount*f.Amount
	if f.AccountAgeDays < 30 {
		x += w.young * (30 - f.AccountAgeDays) / 30
	}
	switch f.MerchantCategory {
	case "gambling", "crypto", "wire_transfer":
		x += w.risky
	}
	if f.IsInternational && !f.HasInternationalHistory {
		x += w.abroad
	}
	p := 1 / (1 + math.Exp(-x))
	class := 0
	switch {
	case p >= 0.85:
		class = 2
	case p >= 0.5:
		class = 1
	}
	out := prediction{score: p, confidence: 0.7 + 0.3*math.Abs(2*p-1), label: labels[class]}
	for i := range out.probs {
		out.probs[i] = (1 - 0.6) / 2 * (0.5 + p/2)
	}
	rest := 1.0
	for i := range out.probs {
		if i != class {
			rest -= out.probs[i]
		}
	}
	out.probs[class] = rest
	out.embedding = [4]float64{p, 1 - p, p * p, math.Sqrt(p)}
	return out
}

// token writes v as a JSON number that a float32 holds exactly, as servers of
// FP32 models do.
func token(v float64) string { return strconv.FormatFloat(float64(float32(v)), 'g', -1, 64) }
