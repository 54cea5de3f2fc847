package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// withoutPolicies drops the FailSafePolicy documents of a file.
func withoutPolicies(text string) string {
	var kept []string
	for _, doc := range strings.Split(text, "\n---\n") {
		if !strings.Contains(doc, "kind: FailSafePolicy") {
			kept = append(kept, doc)
		}
	}
	return strings.Join(kept, "\n---\n")
}

// trio is a sample behind Envoy alone, behind Envoy with a processor that does
// nothing, and behind Envoy with safestate and the sample's policy.
type trio struct {
	plain, noop, full            string // addresses
	plainPID, noopPIDs, fullPIDs []int
}

// trio starts the three. edit, which may be nil, changes the sample.
func (l *lab) trio(sample string, edit func(text string) string) (t trio, err error) {
	if edit == nil {
		edit = func(text string) string { return text }
	}
	plainDir, err := l.config(sample+"-plain", sample, func(text string) string { return withoutPolicies(edit(text)) })
	if err != nil {
		return t, err
	}
	fullDir, err := l.config(sample+"-full", sample, edit)
	if err != nil {
		return t, err
	}
	noopGRPC, fullGRPC := freePort(), freePort()
	noopPID, err := l.start(sample+"-noop", l.settings.noop, "--listen", noopGRPC)
	if err != nil {
		return t, err
	}
	if err := listening(noopGRPC); err != nil {
		return t, err
	}
	fullPID, err := l.serve(sample+"-safestate", fullDir, fullGRPC)
	if err != nil {
		return t, err
	}
	plain, plainEnvoy, err := l.envoy(sample+"-envoy-plain", plainDir, noopGRPC, nil)
	if err != nil {
		return t, err
	}
	noop, noopEnvoy, err := l.envoy(sample+"-envoy-noop", fullDir, noopGRPC, nil)
	if err != nil {
		return t, err
	}
	full, fullEnvoy, err := l.envoy(sample+"-envoy-full", fullDir, fullGRPC, nil)
	if err != nil {
		return t, err
	}
	return trio{
		plain: plain, noop: noop, full: full,
		plainPID: []int{plainEnvoy}, noopPIDs: []int{noopEnvoy, noopPID}, fullPIDs: []int{fullEnvoy, fullPID},
	}, nil
}

// proxies compares whole answers over HTTP by the fraud sample.
func (l *lab) proxies(ratios map[string]float64) error {
	t, err := l.trio("fraud", nil)
	if err != nil {
		return err
	}
	body := kilobyte()
	targets := []*target{
		{name: "Envoy alone", dial: dialUnary(t.plain, pathGood, body, ok), pids: t.plainPID},
		{name: "Envoy, no-op processor", dial: dialUnary(t.noop, pathGood, body, ok), pids: t.noopPIDs},
		{name: "Envoy, safestate", dial: dialUnary(t.full, pathGood, body, from("primary")), pids: t.fullPIDs},
	}
	for _, connections := range []int{1, 16} {
		all, err := interleave(targets, connections, l.settings.rounds, l.settings.during)
		if err != nil {
			return err
		}
		for i := range all {
			all[i].print(connections)
		}
		suffix := ""
		if connections == 1 {
			suffix = "_c1"
		}
		ratios["extproc_full_over_noop_cpu"+suffix] = ratio(&all[2], &all[1], cpu)
		ratios["extproc_full_over_noop_p50"+suffix] = ratio(&all[2], &all[1], p50)
		ratios["extproc_noop_over_envoy_cpu"+suffix] = ratio(&all[1], &all[0], cpu)
		ratios["extproc_full_over_envoy_cpu"+suffix] = ratio(&all[2], &all[0], cpu)
	}
	return nil
}

// fallback compares what a 500 costs: answered by another model, and retried
// by Envoy itself.
func (l *lab) fallback(ratios map[string]float64) error {
	plainDir, err := l.config("retry", "fraud", withoutPolicies)
	if err != nil {
		return err
	}
	fullDir, err := l.config("fallback", "fraud", fallbackOnly)
	if err != nil {
		return err
	}
	grpc := freePort()
	servePID, err := l.serve("safestate-fallback", fullDir, grpc)
	if err != nil {
		return err
	}
	retry, retryEnvoy, err := l.envoy("envoy-retry", plainDir, grpc, withRetries)
	if err != nil {
		return err
	}
	full, fullEnvoy, err := l.envoy("envoy-fallback", fullDir, grpc, nil)
	if err != nil {
		return err
	}
	targets := []*target{
		{name: "500, Envoy's retry", dial: dialUnary(retry, pathRetry, kilobyte(), retried), pids: []int{retryEnvoy}},
		{name: "500, the fallback model", dial: dialUnary(full, pathBroke, kilobyte(), from("fallback")), pids: []int{fullEnvoy, servePID}},
	}
	all, err := interleave(targets, 1, l.settings.rounds, l.settings.during)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].print(1)
	}
	ratios["fallback_500_over_envoy_retry_p50"] = ratio(&all[1], &all[0], p50)
	return nil
}

// fallbackOnly takes the breaker out of the way, which would otherwise spare
// the broken model, and the cache out of the ladder.
func fallbackOnly(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "- cache:") || strings.HasPrefix(trimmed, "budget:") {
			continue
		}
		if strings.HasPrefix(trimmed, "breaker:") {
			line = "  breaker: {failures: 100000, recovery: 1s, halfOpenRequests: 1}"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// withRetries has Envoy retry a 5xx once, after at most 1 ms, as often as
// needed, and tell the model which attempt it is.
func withRetries(text string) string {
	text = regexp.MustCompile(`(?m)^( *)weighted_clusters:$`).ReplaceAllString(text,
		"${1}retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s, max_interval: 0.001s}}\n${1}weighted_clusters:")
	return regexp.MustCompile(`(?m)^( *)- domains:$`).ReplaceAllString(text,
		"${1}- include_request_attempt_count: true\n${1}  domains:")
}

// retried tells an answer that took a second attempt.
func retried(r *http.Response, _ []byte) bool {
	return r.StatusCode == http.StatusOK && r.Header.Get("X-Attempt") == "2"
}

func ok(r *http.Response, _ []byte) bool { return r.StatusCode == http.StatusOK }

func from(source string) func(*http.Response, []byte) bool {
	return func(r *http.Response, _ []byte) bool {
		return r.StatusCode == http.StatusOK && r.Header.Get("X-Safestate-Source") == source
	}
}

// kilobyte is a request of 1 KiB in the shape of the fraud model's.
func kilobyte() []byte {
	const shape = `{"id":"bench","parameters":{"amount":120.5,"account_age_days":400,"merchant_category":"grocery","is_international":false},"inputs":[{"name":"features","datatype":"FP32","shape":[1,%d],"data":[%s]}]}`
	n := 0
	var data strings.Builder
	for data.Len() < 1024-200 {
		if n > 0 {
			data.WriteByte(',')
		}
		fmt.Fprintf(&data, "0.%08d", n*7919)
		n++
	}
	return fmt.Appendf(nil, shape, n, data.String())
}
