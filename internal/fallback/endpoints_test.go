package fallback

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

func TestPick(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := newEndpoints([]policy.Endpoint{{Address: "a", Port: 1}, {Address: "b", Port: 2}, {Address: "::1", Port: 3}}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	picks := func(n int) string {
		var out []string
		for range n {
			out = append(out, s.pick().authority)
		}
		return strings.Join(out, " ")
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("in turn", picks(4), "a:1 b:2 [::1]:3 a:1")
	s.list[1].failed(now)
	check("a failing one is left out", picks(4), "a:1 [::1]:3 a:1 [::1]:3")
	now = now.Add(leastSkip)
	check("tried once when its time is over", picks(3), "b:2 a:1 [::1]:3")
	check("and left out until it has answered", picks(2), "a:1 [::1]:3")
	s.list[1].succeeded()
	check("back", picks(3), "a:1 b:2 [::1]:3")
	s.list[0].failed(now)
	s.list[0].failed(now)
	s.list[1].failed(now)
	s.list[2].failed(now)
	s.list[2].failed(now)
	s.list[2].failed(now)
	check("all failing: the one whose time is over first", picks(2), "b:2 b:2")
}

func TestSkipGrows(t *testing.T) {
	for failures, want := range map[int64]time.Duration{
		0: leastSkip, 1: leastSkip, 2: 2 * leastSkip, 3: 4 * leastSkip, 20: mostSkip, 1 << 40: mostSkip,
	} {
		if got := skipFor(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}

func TestNoEndpoint(t *testing.T) {
	for _, list := range [][]policy.Endpoint{nil, {{Address: "", Port: 1}}, {{Address: "a", Port: 0}}, {{Address: "a", Port: 70000}}} {
		if _, err := newEndpoints(list, time.Now); err == nil {
			t.Errorf("%v was accepted", list)
		}
	}
}
