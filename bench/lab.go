package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lab holds the processes of one run, all on loopback and all ended by close.
type lab struct {
	settings *settings
	folder   string // configurations and logs
	models   *models
	running  []*exec.Cmd
}

func newLab(s *settings) (*lab, error) {
	folder, err := os.MkdirTemp("", "safestate-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, folder: folder}
	for program, from := range map[*string]string{&s.safestate: "./cmd/safestate", &s.noop: "./bench/noop"} {
		if *program == "" {
			*program = filepath.Join(folder, filepath.Base(from))
			if text, err := exec.Command("go", "build", "-o", *program, from).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("go build %s: %w\n%s", from, err, text)
			}
		}
	}
	if l.models, err = startModels(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) close() error {
	for i := len(l.running) - 1; i >= 0; i-- {
		c := l.running[i]
		_ = c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		timer.Stop()
	}
	if l.models != nil {
		l.models.close()
	}
	return os.RemoveAll(l.folder)
}

// start runs a program in its own process group, with its output in a file.
func (l *lab) start(name, program string, args ...string) (pid int, err error) {
	out, err := os.Create(filepath.Join(l.folder, name+".log"))
	if err != nil {
		return 0, err
	}
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return 0, err
	}
	_ = out.Close()
	l.running = append(l.running, c)
	return c.Process.Pid, nil
}

// config writes a copy of a sample with the lab's ports in the place of its own;
// policies may be left out.
func (l *lab) config(name, sample string, edit func(text string) string) (string, error) {
	dir := filepath.Join(l.folder, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(l.settings.samples, sample, "*.yaml"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no sample in %s/%s", l.settings.samples, sample)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		changed := strings.NewReplacer(
			"port: 9101", fmt.Sprintf("port: %d", l.models.primary),
			"port: 9102", fmt.Sprintf("port: %d", l.models.primary),
			"port: 9103", fmt.Sprintf("port: %d", l.models.small),
			"port: 9115", fmt.Sprintf("port: %d", l.models.chat),
			"grpcPort: 9127", fmt.Sprintf("grpcPort: %d", l.models.scoring),
		).Replace(string(text))
		if edit != nil {
			changed = edit(changed)
		}
		if !strings.Contains(changed, "kind:") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), []byte(changed), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// envoy renders a static configuration and starts Envoy on it.
func (l *lab) envoy(name, dir, processor string, edit func(text string) string, flags ...string) (address string, pid int, err error) {
	traffic, admin := freePort(), freePort()
	render := exec.Command(l.settings.safestate, append([]string{
		"render", "envoy", dir, "--traffic", traffic, "--envoy-admin", admin, "--processor", processor,
	}, flags...)...)
	var stderr bytes.Buffer
	render.Stderr = &stderr
	text, err := render.Output()
	if err != nil {
		return "", 0, fmt.Errorf("render: %w\n%s", err, stderr.String())
	}
	if edit != nil {
		text = []byte(edit(string(text)))
	}
	file := filepath.Join(l.folder, name+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", 0, err
	}
	pid, err = l.start(name, l.settings.envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "2", "-l", "warn")
	if err != nil {
		return "", 0, err
	}
	return traffic, pid, ready("http://"+admin+"/ready", filepath.Join(l.folder, name+".log"))
}

// serve starts safestate on a configuration folder.
func (l *lab) serve(name, dir, grpc string) (pid int, err error) {
	httpAddress, answers := freePort(), freePort()
	pid, err = l.start(name, l.settings.safestate, "serve", "--config", dir, "--grpc", grpc, "--answers", answers, "--http", httpAddress,
		"--data-dir", filepath.Join(l.folder, name+"-data"))
	if err != nil {
		return 0, err
	}
	return pid, ready("http://"+httpAddress+"/readyz", filepath.Join(l.folder, name+".log"))
}

// ready waits until a URL answers 200; on failure the log says why.
func ready(url, logFile string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(logFile)
			return fmt.Errorf("%s is not ready\n%s", url, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// listening waits until an address takes connections.
func listening(address string) error {
	until := time.Now().Add(10 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(until) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// freePort returns a loopback address that nothing listened on just now.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
