package verdict

import (
	"slices"
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	seen := map[Code]bool{}
	for _, m := range Codes {
		if seen[m.Code] {
			t.Errorf("%s is there twice", m.Code)
		}
		seen[m.Code] = true
		if !slices.Contains(Detectors, m.Detector) {
			t.Errorf("%s belongs to %q, which is no detector", m.Code, m.Detector)
		}
		if !strings.HasSuffix(m.Sentence, ".") {
			t.Errorf("%s: %q is no sentence", m.Code, m.Sentence)
		}
		if DetectorOf(m.Code) != m.Detector {
			t.Errorf("DetectorOf(%s) = %s", m.Code, DetectorOf(m.Code))
		}
	}
	if DetectorOf("no such code") != Broken {
		t.Error("an unknown code belongs to nobody")
	}
}

func TestReason(t *testing.T) {
	for want, f := range map[string]Finding{
		"late":                       {Code: LateAnswer},
		"nonfinite a[0] NaN":         {Code: NonFiniteValue, Detail: "a[0] NaN"},
		"contract_model_name a??b?c": {Code: ContractModelName, Detail: "a\r\nb\x7fc"},
		"dependency ??":              {Code: DependencyFailed, Detail: "é"},
		"cel " + strings.Repeat("x", maxReason-4): {Code: CELTrue, Detail: strings.Repeat("x", 10*maxReason)},
	} {
		if got := f.Reason(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAdd(t *testing.T) {
	var v Verdict
	v.Add(Finding{})
	v.Add(Finding{Code: CELTrue})
	if !v.Clean() || len(v.Observed) != 1 {
		t.Fatalf("an observed finding failed the answer: %+v", v)
	}
	v.Add(Finding{Code: NonFiniteValue, Enforced: true})
	v.Add(Finding{Code: ContractRange, Enforced: true})
	if v.Clean() || v.Failed.Code != NonFiniteValue || len(v.Observed) != 2 || v.Observed[1].Code != ContractRange {
		t.Fatalf("the first enforced finding is the reason: %+v", v)
	}
}
