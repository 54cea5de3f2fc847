package detect

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/verdict"
)

// Every code that detection can yield is reached by a case of the corpus, or
// by the test that is named here; the codes of guards are the host's.
func TestEveryCodeIsReached(t *testing.T) {
	reached := map[string]bool{
		string(verdict.ConstantAnswer):    true, // TestConstant: it takes more than one exchange
		string(verdict.StreamStalled):     true, // the host's: it has the clock
		string(verdict.BrokenGRPCMessage): true, // the tests of gRPC messages: a case of the corpus is a body of HTTP
	}
	note := func(reason string) {
		code, _, _ := strings.Cut(reason, " ")
		reached[code] = true
	}
	for _, c := range cases(t) {
		note(c.Want)
	}
	for _, c := range requestCases(t) {
		note(c.Want)
	}
	known := map[string]bool{"clean": true, "pass": true}
	for _, m := range verdict.Codes {
		known[string(m.Code)] = true
		if m.Detector != verdict.Guard && !reached[string(m.Code)] {
			t.Errorf("no case for %s", m.Code)
		}
	}
	for code := range reached {
		if !known[code] {
			t.Errorf("the corpus wants %q, which is no code", code)
		}
	}
}
