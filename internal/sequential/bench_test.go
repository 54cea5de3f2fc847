package sequential

import (
	"testing"
	"time"
)

func BenchmarkObserve(b *testing.B) {
	for _, c := range []struct {
		name string
		bad  int
	}{{"clean", 0}, {"bad", 1}} {
		b.Run(c.name, func(b *testing.B) {
			s := newStory()
			clean, some := s.spread(50, 0), s.spread(50, c.bad)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.now = s.now.Add(100 * time.Millisecond)
				if i++; i%20 == 0 {
					s.m.Observe(s.now, some, clean, s.p)
				} else {
					s.m.Observe(s.now, clean, clean, s.p)
				}
			}
		})
	}
}
