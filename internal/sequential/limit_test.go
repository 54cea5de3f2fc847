package sequential

import "testing"

// A limit is what is never normal, whatever was: but a version is still held against
// the one beside it, and where both are over the limit, to roll one back would help
// nobody.
func TestALimitIsNoRollbackFromOneFaultToTheSame(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit float64
		do    func(s *story)
		want  Verdict
	}{
		{"3 % of both, as ever, without a limit", 0, func(s *story) { s.steps(3000, 100, 3, 100, 3) }, Success},
		{"3 % of both, as ever, with one of 1 %", 0.01, func(s *story) { s.until(3000, 100, 3, 100, 3) }, CommonCause},
		{"3 % as ever, and the other is under the limit", 0.01, func(s *story) { s.until(3000, 200, 6, 250, 1) }, Failure},
		{"3 % of both, from now on", 0.01, func(s *story) { s.steps(3000, 100, 0, 100, 0); s.until(3000, 100, 3, 100, 3) }, CommonCause},
		{"3 %, and the other has 2", 0.01, func(s *story) { s.until(3000, 100, 3, 100, 2) }, CommonCause},
		{"30 %, and the other has 2", 0.01, func(s *story) { s.steps(100, 100, 30, 100, 2) }, Failure},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory()
			s.p.MaxBad = c.limit
			c.do(s)
			if s.last.Verdict != c.want {
				t.Errorf("%s: %s", s.last.Verdict, s.last.Why)
			}
		})
	}
}
