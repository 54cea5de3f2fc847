package main

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/safestate/safestate/envoy"
)

// asked is how many requests show a share.
const asked = 400

// ask sends one request through an Envoy and returns the version that answered.
// It is no prediction, so the processor, which is not here, is left out of it;
// its weights are those of predictions.
func ask(address string) (status int, version string, err error) {
	resp, err := http.Get("http://" + address + "/v2/models/" + modelName(0) + "/ready")
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// takes reports whether an Envoy takes traffic: why it does not.
func takes(address string) error {
	status, text, err := ask(address)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, text)
	}
	return err
}

// listens is the address at which an Envoy takes traffic, by its own account.
func listens(admin string) (string, error) {
	resp, err := http.Get("http://" + admin + "/listeners?format=text")
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if address, ok := strings.CutPrefix(strings.TrimSpace(line), envoy.ListenerName+"::"); ok {
			return address, nil
		}
	}
	return "", fmt.Errorf("no listener %s among %q", envoy.ListenerName, text)
}

// shareFollows holds what a real Envoy does against the last flip: six standard
// deviations are chance a handful of times in a thousand million.
func (s *series) shareFollows(address string, flip int) error {
	second := 0
	for range asked {
		_, version, err := ask(address)
		if err != nil {
			return err
		}
		if version == "v2" {
			second++
		}
	}
	want, got := float64(shareOf(flip))/100, float64(second)/asked
	if most := 6*math.Sqrt(want*(1-want)/asked) + 1.0/asked; math.Abs(got-want) > most {
		return fmt.Errorf("flip %d: an Envoy sends %.3f of its requests to v2, want %.3f within %.3f", flip, got, want, most)
	}
	s.asked += asked
	s.shares = append(s.shares, share{want, got})
	return nil
}
