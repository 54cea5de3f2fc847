package main

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/kill"
)

// killedAt: every other change is a kill of the first model, and the next one its
// revive.
func killedAt(n int) bool { return n%2 == 1 }

// killed renders the world after the nth change, as the control plane does for a
// kill: the kills over the files, and nothing validated a second time. Kills take
// the modes in turn.
func (w *world) killed(n int) (*envoy.Resources, error) {
	target, now := kill.ForModel("default/"+modelName(0)), time.Now()
	if n == 0 {
		w.kill = kill.New(target)
	} else if killedAt(n) {
		modes := kill.Modes()
		w.kill = kill.Kill(w.kill, kill.Order{ID: fmt.Sprint(n), At: now, By: "bench", Reason: "bench", Mode: modes[n/2%len(modes)]})
	} else {
		revived, err := kill.Revive(w.kill, kill.Request{At: now, By: "bench", Reason: "bench", Generation: w.kill.Generation})
		if err != nil {
			return nil, err
		}
		w.kill = revived
	}
	return envoy.RenderUnchecked(w.snapshot.WithKills(kill.NewSet(w.kill), now), w.options)
}

// checkKill holds a response against a kill: the model's routes lead nowhere, its
// clusters have no endpoint, and nothing else has changed.
func checkKill(r *response, models, n int) error {
	killed := killedAt(n)
	if string(r.typeURL) == clusterType {
		return r.checkEndpoints(killed, n)
	}
	want := 4 * models // see checkWeights
	if killed {
		want -= 4
	}
	if r.resources != 1 || r.removed != 0 || len(r.weights) != want {
		return fmt.Errorf("change %d: %d route configurations with %d weights, %d removed; want 1 with %d", n, r.resources, len(r.weights), r.removed, want)
	}
	for _, w := range r.weights {
		share := uint64(100)
		if bytes.HasSuffix(w.cluster, newer) {
			share = 0
		}
		if w.share != share || killed && bytes.HasPrefix(w.cluster, flippedModel) {
			return fmt.Errorf("change %d: %s has weight %d", n, w.cluster, w.share)
		}
	}
	return nil
}

func (r *response) checkEndpoints(killed bool, n int) error {
	of := 0
	for _, c := range r.clusters {
		if !bytes.HasPrefix(c.name, flippedModel) {
			continue
		}
		of++
		if killed != (c.endpoints == 0) {
			return fmt.Errorf("change %d: cluster %s has %d endpoints", n, c.name, c.endpoints)
		}
	}
	if of != 2 || r.removed != 0 {
		return fmt.Errorf("change %d: %d clusters of %s, %d removed; want 2", n, of, flippedModel, r.removed)
	}
	return nil
}

// killFollows holds what a real Envoy does against the last change: of a killed
// model no request comes through, of another all do.
func (s *series) killFollows(address string, n int) error {
	want, reached := http.StatusOK, int64(asked)
	if killedAt(n) {
		want, reached = http.StatusServiceUnavailable, 0
	}
	before := s.lab.asked.Load()
	for range asked {
		status, _, err := ask(address)
		if err != nil {
			return err
		}
		if status != want {
			return fmt.Errorf("change %d: an Envoy answers with status %d, want %d", n, status, want)
		}
	}
	if got := s.lab.asked.Load() - before; got != reached {
		return fmt.Errorf("change %d: %d of %d requests reached the model, want %d", n, got, asked, reached)
	}
	s.asked += asked
	return nil
}
