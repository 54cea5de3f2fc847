package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// module builds a WASM filter.
func (l *lab) module(name, from string) (string, error) {
	path := filepath.Join(l.folder, name)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w -buildid=", "-o", path, from)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=wasip1", "GOARCH=wasm")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", from, err, text)
	}
	return path, nil
}

// filters compares the fraud sample's policy inside Envoy with the one in the
// processor, and both with Envoy alone and with a filter that does nothing.
func (l *lab) filters(ratios map[string]float64) error {
	full, err := l.module("safestate.wasm", "./wasm")
	if err != nil {
		return err
	}
	empty, err := l.module("noop.wasm", "./bench/noopfilter")
	if err != nil {
		return err
	}
	info, err := os.Stat(full)
	if err != nil {
		return err
	}
	ratios["wasm_module_bytes"] = float64(info.Size())
	t, err := l.trio("fraud", nil)
	if err != nil {
		return err
	}
	noop, noopPID, err := l.filtered("wasm-noop", empty)
	if err != nil {
		return err
	}
	started := time.Now()
	inside, insidePID, err := l.filtered("wasm-full", full)
	if err != nil {
		return err
	}
	fmt.Printf("%-36s %8.1f s from its start to its first answer\n", "Envoy with the filter", time.Since(started).Seconds())
	for _, answer := range []struct{ name, path string }{{"small", pathGood}, {"4 KiB", pathWide}} {
		body := kilobyte()
		targets := []*target{
			{name: answer.name + ", Envoy alone", dial: dialUnary(t.plain, answer.path, body, ok), pids: t.plainPID},
			{name: answer.name + ", no-op filter", dial: dialUnary(noop, answer.path, body, ok), pids: []int{noopPID}},
			{name: answer.name + ", the filter", dial: dialUnary(inside, answer.path, body, from("primary")), pids: []int{insidePID}},
			{name: answer.name + ", the processor", dial: dialUnary(t.full, answer.path, body, from("primary")), pids: t.fullPIDs},
		}
		all, err := interleave(targets, 8, l.settings.rounds, l.settings.during)
		if err != nil {
			return err
		}
		for i := range all {
			all[i].print(8)
		}
		suffix := ""
		if answer.path == pathWide {
			suffix = "_4k"
		}
		ratios["wasm_noop_over_envoy_cpu"+suffix] = ratio(&all[1], &all[0], cpu)
		ratios["wasm_full_over_envoy_cpu"+suffix] = ratio(&all[2], &all[0], cpu)
		ratios["wasm_full_over_noop_cpu"+suffix] = ratio(&all[2], &all[1], cpu)
		ratios["wasm_full_over_extproc_cpu"+suffix] = ratio(&all[2], &all[3], cpu)
	}
	return nil
}

// filtered starts an Envoy with a filter, and nothing beside it.
func (l *lab) filtered(name, module string) (address string, pid int, err error) {
	dir, err := l.config(name, "fraud", nil)
	if err != nil {
		return "", 0, err
	}
	address, pid, err = l.envoy(name, dir, freePort(), nil, "--host", "wasm", "--wasm-module", module)
	if err != nil {
		return "", 0, err
	}
	return address, pid, answers("http://" + address + pathGood)
}

// answers waits until a request is answered 200.
func answers(url string) error {
	until := time.Now().Add(time.Minute)
	for {
		resp, err := http.Post(url, "application/json", http.NoBody)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s answers nothing: %w", url, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
