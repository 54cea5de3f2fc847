package main

import (
	"fmt"
	"slices"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/safestate/safestate/envoy"
)

const (
	clusterType = resourcev3.ClusterType
	routeType   = resourcev3.RouteType
)

// change is a kind of change that servers are measured by. The nth change leads
// from the world after the one before it; the 0th world is that of the files.
type change struct {
	name  string // of the flag, and where the names of its ratios begin
	title string // of its tables
	// types are those that each change sends: it is over when every client has
	// accepted it of all of them.
	types []string
	// rendered is set where the rendering is a part of what is measured.
	rendered bool
	measured func(n int) bool // whether the nth is; else it leads up to the next
	// last is the number of the last of so many measured changes after the nth.
	last func(n, measured int) int
	at   func(w *world, n int) (*envoy.Resources, error) // called once for each, in order
	// check holds what a client got of a type against what the nth change makes it.
	check func(r *response, models, n int) error
	// traffic holds what a real Envoy does after the nth change.
	traffic func(s *series, address string, n int) error
	// pauses are the changes between first and last after which traffic is looked
	// at, last among them.
	pauses func(first, last int) []int
}

func changes() []change {
	return []change{
		{
			name: "flip", title: "flips of one model's weights", types: []string{routeType},
			measured: func(int) bool { return true },
			last:     func(n, measured int) int { return n + measured },
			at:       func(w *world, n int) (*envoy.Resources, error) { return w.with(shareOf(n)) },
			check:    checkWeights,
			traffic:  (*series).shareFollows,
			pauses:   func(_, last int) []int { return []int{last} },
		},
		{
			name: "kill", title: "kills of one model", types: []string{clusterType, routeType}, rendered: true,
			measured: killedAt,
			last:     func(n, measured int) int { return n + 2*measured },
			at:       (*world).killed,
			check:    checkKill,
			traffic:  (*series).killFollows,
			pauses:   func(_, last int) []int { return []int{last - 1, last} },
		},
	}
}

func changeNamed(name string) (*change, error) {
	all := changes()
	i := slices.IndexFunc(all, func(c change) bool { return c.name == name })
	if i < 0 {
		return nil, fmt.Errorf("no change is called %q: want flip or kill", name)
	}
	return &all[i], nil
}
