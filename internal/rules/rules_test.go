package rules_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/celc"
	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/rules"
	"github.com/safestate/safestate/internal/scan"
)

// source is a decision table as it is written in a policy.
type source struct {
	Score []struct {
		When   string  `json:"when"`
		Add    float64 `json:"add"`
		Reason string  `json:"reason"`
	} `json:"score"`
	MaxScore   float64 `json:"maxScore"`
	Confidence float64 `json:"confidence"`
	Template   string  `json:"template"`
}

func (s source) table(t testing.TB) *rules.Table {
	t.Helper()
	r := &policy.Rules{MaxScore: s.MaxScore, Confidence: s.Confidence, Template: s.Template}
	for _, row := range s.Score {
		wire, err := celc.Compile(row.When)
		if err != nil {
			t.Fatal(err)
		}
		r.Score = append(r.Score, policy.ScoreRule{When: policy.Program(wire), Add: row.Add, Reason: row.Reason})
	}
	table, err := rules.Compile(r)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func fraud(t testing.TB) *rules.Table {
	t.Helper()
	text, err := os.ReadFile("testdata/fraud-rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s source
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		t.Fatal(err)
	}
	return s.table(t)
}

func parse(t testing.TB, body string) scan.Node {
	t.Helper()
	doc := new(scan.Document)
	if err := doc.Parse([]byte(body), scan.Limits{}); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return doc.Root()
}

// answer is what the fraud table's template carries.
type answer struct {
	ModelName string  `json:"model_name"`
	ID        *string `json:"id"`
	Outputs   []struct {
		Name, Datatype string
		Shape          []int
		Data           []json.RawMessage
	} `json:"outputs"`
}

// reference computes the table on its own: in hundredths, from decoded JSON.
func reference(features map[string]any) (hundredths int, reasons []string) {
	amount, _ := features["amount"].(float64)
	if amount > 5000 {
		hundredths += 30
		reasons = append(reasons, "high_amount")
	}
	age, _ := features["account_age_days"].(float64)
	if age < 7 {
		hundredths += 25
		reasons = append(reasons, "new_account")
	}
	switch features["merchant_category"] {
	case "gambling", "crypto", "wire_transfer":
		hundredths += 20
		reasons = append(reasons, "high_risk_category")
	}
	international, _ := features["is_international"].(bool)
	history, _ := features["has_international_history"].(bool)
	if international && !history {
		hundredths += 15
		reasons = append(reasons, "unusual_international")
	}
	return min(hundredths, 100), reasons
}

// decimal writes hundredths as the shortest number with a fraction.
func decimal(hundredths int) string {
	s := fmt.Sprintf("%d.%02d", hundredths/100, hundredths%100)
	return strings.TrimSuffix(s, "0")
}

// check answers one request and compares with the reference.
func check(t *testing.T, table *rules.Table, body string) {
	t.Helper()
	var request struct {
		ID         *string        `json:"id"`
		Parameters map[string]any `json:"parameters"`
	}
	if err := json.Unmarshal([]byte(body), &request); err != nil {
		t.Fatal(err)
	}
	want, wantReasons := reference(request.Parameters)
	got, err := table.Answer(nil, &expr.Env{Request: parse(t, body)})
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var a answer
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %v: %s", body, err, got)
	}
	if (a.ID == nil) != (request.ID == nil) || a.ID != nil && *a.ID != *request.ID {
		t.Errorf("%s: id in %s", body, got)
	}
	if score := string(a.Outputs[0].Data[0]); score != decimal(want) {
		t.Errorf("%s: score %s, want %s", body, score, decimal(want))
	}
	if confidence := string(a.Outputs[1].Data[0]); confidence != "0.4" {
		t.Errorf("%s: confidence %s, want 0.4", body, confidence)
	}
	reasons := a.Outputs[2]
	var gotReasons []string
	for _, r := range reasons.Data {
		gotReasons = append(gotReasons, strings.Trim(string(r), `"`))
	}
	if !slices.Equal(gotReasons, wantReasons) || reasons.Shape[0] != len(wantReasons) {
		t.Errorf("%s: reasons %v of shape %v, want %v", body, gotReasons, reasons.Shape, wantReasons)
	}
}

// features are the five of the table: the text that makes each rule hold, and
// one that does not.
var features = []struct{ name, yes, no string }{
	{"amount", "5000.01", "5000"},
	{"account_age_days", "6", "7"},
	{"merchant_category", `"crypto"`, `"books"`},
	{"is_international", "true", "false"},
	{"has_international_history", "true", "false"},
}

func TestFraudAll32(t *testing.T) {
	table := fraud(t)
	for bits := range 32 {
		var members []string
		for i, f := range features {
			value := f.no
			if bits>>i&1 == 1 {
				value = f.yes
			}
			members = append(members, fmt.Sprintf("%q:%s", f.name, value))
		}
		check(t, table, `{"id":"r1","parameters":{`+strings.Join(members, ",")+`}}`)
	}
}

// TestFraudMissing takes every combination of holds, does not hold and missing.
func TestFraudMissing(t *testing.T) {
	table := fraud(t)
	for n := range 243 {
		var members []string
		for i, rest := 0, n; i < len(features); i, rest = i+1, rest/3 {
			if value := []string{features[i].no, features[i].yes, ""}[rest%3]; value != "" {
				members = append(members, fmt.Sprintf("%q:%s", features[i].name, value))
			}
		}
		check(t, table, `{"parameters":{`+strings.Join(members, ",")+`}}`)
	}
	for _, body := range []string{`{}`, `{"id":"x"}`, `{"parameters":{}}`, `{"parameters":null}`, `{"inputs":[]}`} {
		check(t, table, body)
	}
}

func TestFraudValues(t *testing.T) {
	table := fraud(t)
	for _, parameters := range []string{
		`{"amount":5000.0}`, `{"amount":5001,"account_age_days":7}`, `{"amount":1e308,"account_age_days":0}`, `{"amount":-1,"account_age_days":-1}`,
		`{"merchant_category":"gambling"}`, `{"merchant_category":"wire_transfer"}`, `{"merchant_category":"Crypto"}`, `{"merchant_category":""}`,
		`{"merchant_category":null}`, `{"is_international":null}`, `{"is_international":true,"has_international_history":null}`,
	} {
		check(t, table, `{"parameters":`+parameters+`}`)
	}
}

// TestNoGuess: what cannot be evaluated is an error of the rung.
func TestNoGuess(t *testing.T) {
	table := fraud(t)
	for _, c := range []struct{ body, want string }{
		{`{"parameters":{"amount":"6000"}}`, "score[0] (high_amount): no such overload"},
		{`{"parameters":{"amount":null}}`, "score[0] (high_amount): no such overload"},
		{`{"parameters":{"amount":1,"amount":6000}}`, "score[0] (high_amount): the key occurs more than once: amount"},
		{`{"parameters":{"account_age_days":[]}}`, "score[1] (new_account): no such overload"},
		{`{"parameters":[1]}`, "score[0] (high_amount)"},
	} {
		got, err := table.Answer([]byte("kept"), &expr.Env{Request: parse(t, c.body)})
		if err == nil || !strings.Contains(err.Error(), c.want) || string(got) != "kept" {
			t.Errorf("%s: got %s, %v, want %s", c.body, got, err, c.want)
		}
	}
	if got, err := table.Answer(nil, &expr.Env{}); err == nil {
		t.Errorf("without a body: got %s", got)
	}
}

func TestScoreIsDecimalAndCapped(t *testing.T) {
	for _, c := range []struct {
		adds []float64
		max  float64
		want string
	}{
		{[]float64{0.3, 0.25, 0.2, 0.15}, 1, "0.9"},
		{[]float64{0.1, 0.2}, 1, "0.3"},
		{[]float64{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, 1, "1.0"},
		{[]float64{0.7, 0.7}, 1, "1.0"},
		{[]float64{0.7, 0.7}, 0.95, "0.95"},
		{[]float64{}, 1, "0.0"},
		{[]float64{0.5, -0.2}, 1, "0.3"},
		{[]float64{1.0 / 3}, 1, "0.333333333"},
		{[]float64{250}, 1000, "250.0"},
	} {
		r := &policy.Rules{MaxScore: c.max, Template: `{{score}}`}
		for _, a := range c.adds {
			r.Score = append(r.Score, policy.ScoreRule{When: policy.Program("true"), Add: a, Reason: "r"})
		}
		table, err := rules.Compile(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := table.Answer(nil, &expr.Env{})
		if err != nil || string(got) != c.want {
			t.Errorf("%v up to %v: got %s, %v, want %s", c.adds, c.max, got, err, c.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	good := policy.ScoreRule{When: policy.Program("true"), Add: 0.5, Reason: "why"}
	for want, r := range map[string]policy.Rules{
		"maxScore is 0":                       {Template: "1"},
		"maxScore is NaN":                     {MaxScore: math.NaN(), Template: "1"},
		"maxScore is +Inf":                    {MaxScore: math.Inf(1), Template: "1"},
		"confidence is 1.5":                   {MaxScore: 1, Confidence: 1.5, Template: "1"},
		"confidence is NaN":                   {MaxScore: 1, Confidence: math.NaN(), Template: "1"},
		"score[1] (why): add is NaN":          {MaxScore: 1, Template: "1", Score: []policy.ScoreRule{good, {When: good.When, Add: math.NaN(), Reason: "why"}}},
		"score[0] (x): not a compiled":        {MaxScore: 1, Template: "1", Score: []policy.ScoreRule{{When: policy.Program("[]"), Reason: "x"}}},
		"template: {{scor}}: unknown":         {MaxScore: 1, Template: "{{scor}}"},
		"template: not JSON once it is fille": {MaxScore: 1, Template: `{"a": {{score}}`},
	} {
		if _, err := rules.Compile(&r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestErrUnfilled(t *testing.T) {
	template, err := rules.CompileTemplate(`{{request.a}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := template.Fill(nil, &rules.Values{}); !errors.Is(err, rules.ErrUnfilled) {
		t.Errorf("got %v, want %v", err, rules.ErrUnfilled)
	}
}
