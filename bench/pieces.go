package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	openStreams = 64                    // at once
	pace        = 10 * time.Millisecond // a hundred tokens a second for each caller
)

// chat compares streams: what inspecting a token costs, while 64 streams of 60
// to 200 tokens are open and every token is a piece of its own, and what the
// first content takes longer, one short stream after another.
func (l *lab) chat(ratios map[string]float64) error {
	t, err := l.trio("chat", nil)
	if err != nil {
		return err
	}
	targets := t.targets(func(address, source string) func() (caller, error) {
		return dialStreams(address, source, lengths, pace)
	})
	for _, target := range targets {
		target.spread = time.Duration(slices.Min(lengths)) * pace
	}
	open, err := interleave(targets, openStreams, l.settings.rounds, l.settings.during)
	if err != nil {
		return err
	}
	targets = t.targets(func(address, source string) func() (caller, error) {
		return dialStreams(address, source, []int{4}, 0)
	})
	short, err := interleave(targets, 1, l.settings.rounds, l.settings.during/2)
	if err != nil {
		return err
	}
	for i := range open {
		open[i].print(openStreams)
	}
	for i := range short {
		short[i].print(1)
	}
	const perThousand = 1000
	ratios["stream_cpu_s_per_1k_tokens"] = open[2].median(cpu).Seconds() * perThousand
	ratios["stream_full_over_noop_cpu"] = ratio(&open[2], &open[1], cpu)
	ratios["ttft_added_ms"] = micros(added(&short[2], &short[0], first)) / 1e3
	for i := range open {
		fmt.Printf("%-28s cpu-s per 1,000 tokens: %.4f, Envoy's %.4f, the processor's %.4f\n", open[i].target.name,
			open[i].median(cpu).Seconds()*perThousand, open[i].median(envoyCPU).Seconds()*perThousand,
			open[i].median(processorCPU).Seconds()*perThousand)
	}
	fmt.Printf("first content, added by safestate: %.3f ms to Envoy alone, %.3f ms to the no-op; with %d streams open %.3f and %.3f ms\n",
		micros(added(&short[2], &short[0], first))/1e3, micros(added(&short[2], &short[1], first))/1e3,
		openStreams, micros(added(&open[2], &open[0], first))/1e3, micros(added(&open[2], &open[1], first))/1e3)
	return nil
}

// grpc compares ModelInfer.
func (l *lab) grpc(ratios map[string]float64) error {
	// On a machine that is busy with three proxies nothing may be late.
	t, err := l.trio("grpc", func(text string) string { return strings.Replace(text, "deadline: 300ms", "deadline: 5s", 1) })
	if err != nil {
		return err
	}
	const connections = 16
	all, err := interleave(t.targets(dialGRPC), connections, l.settings.rounds, l.settings.during)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].print(connections)
	}
	ratios["grpc_full_over_noop_cpu"] = ratio(&all[2], &all[1], cpu)
	return nil
}

// targets makes the three of a trio, in the order in which they do more.
func (t *trio) targets(dial func(address, source string) func() (caller, error)) []*target {
	return []*target{
		{name: "Envoy alone", dial: dial(t.plain, ""), pids: t.plainPID},
		{name: "Envoy, no-op processor", dial: dial(t.noop, ""), pids: t.noopPIDs},
		{name: "Envoy, safestate", dial: dial(t.full, "primary"), pids: t.fullPIDs},
	}
}

func processorCPU(r result) time.Duration { return r.cpu - r.envoy }
